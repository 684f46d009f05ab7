//! What a shared library says about itself. Plain data, copied out of the file.

/// What is known about a shared library that was read without mapping it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The machine it is built for, which is this one.
    pub machine: &'static str,
    /// The plugin note.
    pub note: NoteState,
    /// The symbols a host looks up.
    pub exports: Exports,
    /// Whether the plugin tracks what would outlive it.
    pub hooks: Hooks,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_FILTER` and `DT_AUXILIARY`: libraries that would answer in its place.
    pub filters: Vec<String>,
    /// `DT_RPATH`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`.
    pub runpath: Option<String>,
    /// The highest glibc version among those it needs.
    pub glibc: Option<(u32, u32)>,
    /// Functions that run inside `dlopen`, before the host can ask anything.
    pub constructors: usize,
    /// Whether it was made by `go build -buildmode=plugin`.
    pub go: bool,
    /// Whether it asks for an executable stack, by header or by leaving the header out.
    pub executable_stack: bool,
    /// Whether its code has to be rewritten when it is loaded.
    pub text_relocations: bool,
    /// Segments that are both writable and executable.
    pub writable_code: usize,
    /// Bytes of thread-local storage each thread gets.
    pub tls_bytes: u64,
    /// Whether that storage must come from the reserve made at program start.
    pub static_tls: bool,
    /// Whether it forbids to be unmapped.
    pub nodelete: bool,
    /// Whether it defines symbols that are unique in the process, which pin it.
    pub unique_symbols: bool,
    /// How many dynamic symbols it has.
    pub symbol_count: usize,
    pub(super) image_size: u64,
}

impl Facts {
    /// Bytes of address space it takes once mapped.
    #[must_use]
    pub const fn image_size(&self) -> u64 {
        self.image_size
    }

    /// Whether it can be unmapped for real after its threads have ended.
    #[must_use]
    pub fn unloadable(&self) -> bool {
        self.hooks == Hooks::Bound && !self.nodelete && !self.unique_symbols
    }

    /// The plugin note, when there is one and it can be read.
    #[must_use]
    pub fn plugin_note(&self) -> Option<&PluginNote> {
        match &self.note {
            NoteState::Present(note) => Some(note),
            NoteState::Absent | NoteState::Damaged(_) => None,
        }
    }
}

/// Whether there is a plugin note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteState {
    /// There is none: no plugin of plg.
    Absent,
    /// There is one, and this is why it cannot be read.
    Damaged(String),
    /// There is one.
    Present(PluginNote),
}

/// The plugin note as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginNote {
    /// Name of the crate or project.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A set of [`plg_plugin_api::abi::flag`].
    pub flags: u32,
    /// The fingerprint of the contract it was built with.
    pub fingerprint: u64,
    /// The major version of that contract.
    pub major: u16,
    /// The minor version of that contract.
    pub minor: u16,
    /// 32 or 64.
    pub pointer_bits: u16,
    /// [`plg_plugin_api::abi::NOTE_ENDIAN`] as the note has it.
    pub endian: u16,
    /// The embedded `plugin.json`; empty when there is none.
    pub manifest: Vec<u8>,
}

impl PluginNote {
    /// Whether this one of [`plg_plugin_api::abi::flag`] is set.
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// The symbols a host looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exports {
    /// [`plg_plugin_api::abi::EXECUTE_SYMBOL`].
    pub execute: Export,
    /// [`plg_plugin_api::abi::DESCRIPTOR_SYMBOL`].
    pub descriptor: Export,
    /// [`plg_plugin_api::abi::LAYOUT_SYMBOL`].
    pub layout: Export,
}

/// What a library has under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Nothing.
    Absent,
    /// It wants the symbol from elsewhere.
    Imported,
    /// A function inside its code.
    Function,
    /// A variable.
    Data,
    /// A function that is chosen by running code inside `dlopen`.
    Indirect,
    /// A function whose address is not in the code.
    Astray,
    /// A thread-local, a section or something unknown.
    Other,
}

/// Whether the plugin tracks the threads, keys and thread-local destructors that would outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// It says so, and none of the functions that make such things comes from elsewhere.
    Bound,
    /// It says so, and still takes these from elsewhere.
    Unbound(Vec<&'static str>),
    /// It does not say so.
    Absent,
}
