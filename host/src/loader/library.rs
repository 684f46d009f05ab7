//! A mapped image and its descriptor. The only file that names libloading.
#![expect(
    unsafe_code,
    reason = "mapping runs the image's constructors, and its tables are read by address"
)]

use std::error::Error as _;
use std::ffi::{CStr, c_int, c_void};
use std::mem::ManuallyDrop;
#[cfg(feature = "next-minor")]
use std::mem::offset_of;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libloading::os::unix::{Library as Mapping, RTLD_LOCAL, RTLD_NOW};
use plg_plugin_api::abi::{self, Ctx, Descriptor, DescriptorGetter, EntryPoint, Str, status};
use plg_plugin_api::view;

use super::LoadError;
use super::image::Image;
use super::preflight::glibc_version;
use crate::context::Context;
use crate::context::frame::{Call, Frame};
use crate::plugin::thread::Here;

/// A mapped image. Dropping it leaves it mapped: only [`close`](Self::close) unmaps.
#[derive(Debug)]
pub(crate) struct Library {
    /// libloading would unmap it on drop.
    mapping: ManuallyDrop<Mapping>,
    /// Its path stays taken for as long as the mapping may be there.
    image: ManuallyDrop<Image>,
    place: Place,
    descriptor: Descriptor,
    execute: EntryPoint,
    labels: Vec<String>,
}

/// What a library can be asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    Execute,
    Init,
    Stop,
    Save,
    Restore,
}

/// Where the dynamic linker put an image.
#[derive(Clone, Debug)]
struct Place {
    base: usize,
    /// All of it.
    mapped: Range<usize>,
    /// What can be read. Between segments there may be nothing.
    readable: Vec<Range<usize>>,
    /// What can be run.
    code: Vec<Range<usize>>,
}

// SAFETY: the descriptor points to functions and read-only data of the image, which any thread may use.
unsafe impl Send for Library {}
// SAFETY: as above; every method that runs code of the image takes what the ABI asks for.
unsafe impl Sync for Library {}

impl Library {
    /// Maps `image`, which runs its constructors, and reads its descriptor.
    ///
    /// Whoever named the file trusts it with this process: from here on its code can do whatever the
    /// process can, and no check of ours prevents that. What is checked before is that it is the right
    /// file, made for this host, and whole.
    pub(crate) fn open(image: Image) -> Result<Self, LoadError> {
        let path = image.path();
        // SAFETY: the image is whole and for this machine, as the preflight found; its constructors are
        // trusted, as above.
        let mapping = unsafe { Mapping::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let mapping = match mapping {
            Ok(mapping) => mapping,
            Err(error) => return Err(not_opened(&image, &error)),
        };
        // SAFETY: the preflight found the getter to be a function, and the note says of which ABI.
        match unsafe { read_descriptor(&mapping, &path) } {
            Ok((descriptor, execute, labels, place)) => Ok(Self {
                mapping: ManuallyDrop::new(mapping),
                image: ManuallyDrop::new(image),
                place,
                descriptor,
                execute,
                labels,
            }),
            Err(problem) => {
                let path = image.origin().to_owned();
                // Nothing of the image but constructors and the getter ran. It was not made by
                // `plugin!`, whose descriptor is whole, so it has no stand-ins for libc's functions, and
                // glibc keeps it mapped if a constructor left a destructor behind.
                let file = image.path();
                if mapping.close().is_err() || search(&file, |_| true).is_some() {
                    std::mem::forget(image);
                }
                Err(LoadError::Descriptor { path, problem })
            }
        }
    }

    /// The labels that the descriptor lists.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Where the image is.
    pub(crate) fn mapped(&self) -> &Range<usize> {
        &self.place.mapped
    }

    /// Calls the entry point; `None` when calls nest too deeply.
    #[inline(always)]
    pub(crate) fn execute(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
    ) -> Option<i32> {
        // SAFETY: `read_descriptor` found it inside the image's code, and the frame is current.
        Frame::enter(here, context, call, depth, |raw, label| unsafe {
            (self.execute)(raw, label)
        })
    }

    /// Calls `init`; [`status::OK`] when there is none.
    pub(crate) fn init(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        Self::call_optional(self.descriptor.init, here, context, call)
    }

    /// Calls `stop`; [`status::OK`] when there is none.
    pub(crate) fn stop(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        Self::call_optional(self.descriptor.stop, here, context, call)
    }

    /// The version of the state that `save` writes; `None` when the plugin keeps none across an upgrade,
    /// which takes both `save` and `restore`.
    pub(crate) fn state_version(&self) -> Option<u32> {
        let hands_over = self.descriptor.save.is_some() && self.descriptor.restore.is_some();
        hands_over.then_some(self.descriptor.state_version)
    }

    /// Calls `save`, which puts the plugin's state into `context`; [`status::OK`] when there is none.
    pub(crate) fn save(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        Self::call_optional(self.descriptor.save, here, context, call)
    }

    /// Calls `restore`, which takes over the state in `context`; [`status::OK`] when there is none. The
    /// call's label is the version of that state.
    pub(crate) fn restore(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
    ) -> Option<i32> {
        Self::call_optional(self.descriptor.restore, here, context, call)
    }

    fn call_optional(
        entry: Option<EntryPoint>,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
    ) -> Option<i32> {
        match entry {
            Some(entry) => {
                let depth = call.callee.limits().depth;
                // SAFETY: `read_descriptor` found it inside the image's code, and the frame is current.
                Frame::enter(here, context, call, depth, |raw, label| unsafe {
                    entry(raw, label)
                })
            }
            None => Some(status::OK),
        }
    }

    /// Calls a function with a context that somebody else lends; [`status::OK`] when there is none.
    pub(crate) fn call_lent(&self, function: Function, context: Ctx, label: Str) -> i32 {
        let entry = match function {
            Function::Execute => Some(self.execute),
            Function::Init => self.descriptor.init,
            Function::Stop => self.descriptor.stop,
            Function::Save => self.descriptor.save,
            Function::Restore => self.descriptor.restore,
        };
        // SAFETY: `read_descriptor` found it inside the image's code, and whoever lends a context does so for a
        // call that runs.
        entry.map_or(status::OK, |entry| unsafe { entry(context, label) })
    }

    /// How many threads of the plugin are alive.
    pub(crate) fn live(&self) -> u32 {
        // SAFETY: `read_descriptor` found it inside the image's code, and it takes nothing.
        self.descriptor.live.map_or(0, |live| unsafe { live() })
    }

    /// Lets the plugin give back what it holds in the process; 0 when nothing is left.
    pub(crate) fn fini(&self) -> u32 {
        // SAFETY: `read_descriptor` found it inside the image's code, and it takes nothing.
        self.descriptor.fini.map_or(0, |fini| unsafe { fini() })
    }

    /// What a plugin of the next minor appends, if this one has it.
    #[cfg(feature = "next-minor")]
    pub(crate) fn next(&self) -> Option<u64> {
        let end = offset_of!(Descriptor, next) + size_of::<usize>();
        if (self.descriptor.size as usize) < end {
            return None;
        }
        // SAFETY: the field lies inside the table that the plugin has.
        Some(unsafe { (self.descriptor.next)() })
    }

    /// The `abi_stable` layout that the plugin exports, if it does.
    #[cfg(feature = "abi_stable")]
    pub(crate) fn layout(&self) -> Option<*const c_void> {
        // SAFETY: the preflight refuses a library in which the symbol is no function, and this is the
        // type that the ABI gives it.
        let getter = unsafe { self.mapping.get::<abi::LayoutGetter>(abi::LAYOUT_SYMBOL) };
        // SAFETY: it takes nothing and returns the address of static data.
        Some(unsafe { getter.ok()?() })
    }

    /// Unmaps an image of which nothing but constructors and getters ran, unless those left something
    /// in the process; what stays mapped keeps its path.
    pub(crate) fn abandon(self) {
        if self.live() == 0 && self.fini() == 0 {
            // SAFETY: no entry point was called, no thread of it is alive, and its keys are deleted.
            drop(unsafe { self.close() });
        }
    }

    /// Unmaps the image, and makes sure that it is gone.
    ///
    /// # Errors
    ///
    /// The image, when something still holds it: it stays mapped, and its path taken.
    ///
    /// # Safety
    ///
    /// No code of the image runs or will run: no call, no thread, no destructor.
    pub(crate) unsafe fn close(self) -> Result<(), Box<Retained>> {
        let Self {
            mapping,
            image,
            place,
            ..
        } = self;
        let (mapping, image) = (
            ManuallyDrop::into_inner(mapping),
            ManuallyDrop::into_inner(image),
        );
        let path = image.path();
        let closed = mapping.close();
        if closed.is_err() || find(&path, place.base).is_some() {
            return Err(Box::new(Retained {
                image: ManuallyDrop::new(image),
                place,
            }));
        }
        Ok(())
    }
}

/// This machine's glibc, for the preflight; `None` with another libc.
pub(crate) fn glibc() -> Option<(u32, u32)> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes nothing and returns static text that ends in NUL.
        let version = unsafe { libc::gnu_get_libc_version() };
        // SAFETY: as above.
        let version = unsafe { CStr::from_ptr(version) };
        glibc_version(version.to_str().ok()?)
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// An image that stayed mapped after it was closed. Its path stays taken even when this is dropped.
#[derive(Debug)]
pub(crate) struct Retained {
    image: ManuallyDrop<Image>,
    place: Place,
}

impl Retained {
    /// Lets go of the image if glibc has by now, as it does for some when a thread ends.
    pub(crate) fn release(self: Box<Self>) -> Result<(), Box<Self>> {
        if find(&self.image.path(), self.place.base).is_some() {
            return Err(self);
        }
        drop(ManuallyDrop::into_inner(self.image));
        Ok(())
    }

    pub(crate) fn mapped_bytes(&self) -> usize {
        self.place.mapped.len()
    }
}

type Read = (Descriptor, EntryPoint, Vec<String>, Place);

/// Reads the descriptor and checks that what it points to lies inside the image.
///
/// # Safety
///
/// The symbol of the getter, if there is one, is a function of the type that the ABI gives it.
unsafe fn read_descriptor(mapping: &Mapping, path: &Path) -> Result<Read, String> {
    // SAFETY: the caller's promise.
    let getter = unsafe { mapping.get::<DescriptorGetter>(abi::DESCRIPTOR_SYMBOL) };
    let getter = *getter.map_err(|_| format!("no symbol `{}`", abi::DESCRIPTOR_SYMBOL))?;
    let place = containing(getter as *const c_void as usize, path)
        .ok_or("the getter lies outside the image")?;
    // SAFETY: it takes nothing and lies inside the image.
    let table = unsafe { getter() };
    let (address, align) = (table as usize, align_of::<Descriptor>());
    if table.is_null() {
        return Err("it is null".to_owned());
    }
    if !address.is_multiple_of(align) {
        return Err(format!(
            "its address {address:#x} is not a multiple of {align}"
        ));
    }
    let inside = |start: usize, length: usize| {
        let holds =
            |segment: &Range<usize>| segment.contains(&start) && length <= segment.end - start;
        place.readable.iter().any(holds)
    };
    if !inside(address, Descriptor::FROZEN_SIZE) {
        return Err(format!("its address {address:#x} lies outside the image"));
    }
    // SAFETY: the table begins with its size, inside the image, and it is aligned.
    let size = unsafe { table.cast::<u32>().read() } as usize;
    if size < Descriptor::FROZEN_SIZE || !inside(address, size) {
        return Err(format!(
            "its size is {size}, expected at least {}: rebuild the plugin",
            Descriptor::FROZEN_SIZE
        ));
    }
    // SAFETY: both sides have the frozen fields, and appended ones are read only below `size`.
    let descriptor = unsafe { copy_descriptor(table, size) };
    let execute = descriptor.execute.ok_or("`execute` is null")?;
    let runnable = |function: usize| place.code.iter().any(|code| code.contains(&function));
    let functions = [
        ("execute", Some(execute as usize)),
        ("init", descriptor.init.map(|entry| entry as usize)),
        ("stop", descriptor.stop.map(|entry| entry as usize)),
        ("live", descriptor.live.map(|entry| entry as usize)),
        ("fini", descriptor.fini.map(|entry| entry as usize)),
        ("save", descriptor.save.map(|entry| entry as usize)),
        ("restore", descriptor.restore.map(|entry| entry as usize)),
    ];
    for (name, function) in functions {
        if let Some(function) = function
            && !runnable(function)
        {
            return Err(format!(
                "`{name}` points to {function:#x}, which is not code of the image"
            ));
        }
    }
    let labels = descriptor.label_count;
    let length = labels
        .checked_mul(size_of::<Str>())
        .ok_or("it has too many labels")?;
    if labels > 0 && !inside(descriptor.labels as usize, length) {
        return Err("its labels lie outside the image".to_owned());
    }
    let mut names = Vec::with_capacity(labels);
    for index in 0..labels {
        // SAFETY: the whole array lies inside the image.
        let label = unsafe { descriptor.labels.add(index) };
        // SAFETY: as above.
        let label = unsafe { label.read_unaligned() };
        if !inside(label.ptr as usize, label.len) {
            return Err(format!("label {index} lies outside the image"));
        }
        // SAFETY: the text lies inside the image.
        let text = unsafe { view::text(label) };
        names.push(
            text.ok_or(format!("label {index} is not UTF-8"))?
                .to_owned(),
        );
    }
    Ok((descriptor, execute, names, place))
}

/// Copies as much of a peer's table as it has; the rest reads as zero.
///
/// # Safety
///
/// `table` points to `size` readable bytes, which hold at least the frozen fields.
unsafe fn copy_descriptor(table: *const Descriptor, size: usize) -> Descriptor {
    let mut copy = std::mem::MaybeUninit::<Descriptor>::zeroed();
    let length = size.min(size_of::<Descriptor>());
    // SAFETY: both sides have `length` bytes and do not overlap.
    unsafe { ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast(), length) };
    // A function that the peer does not have must not read as null where the type forbids that.
    #[cfg(feature = "next-minor")]
    if length < size_of::<Descriptor>() {
        unsafe extern "C" fn absent() -> u64 {
            0
        }
        let copy = copy.as_mut_ptr();
        // SAFETY: the field lies inside the copy.
        let next = unsafe { &raw mut (*copy).next };
        // SAFETY: the field is ours to write.
        unsafe { next.write(absent) };
    }
    // SAFETY: every field was copied from a table of this type, or written above.
    unsafe { copy.assume_init() }
}

/// The place of the image of this path that contains `address`.
fn containing(address: usize, path: &Path) -> Option<Place> {
    search(path, |place| place.mapped.contains(&address))
}

/// The place of the image of this path at `base`.
fn find(path: &Path, base: usize) -> Option<Place> {
    search(path, |place| place.base == base)
}

/// Looks through everything the dynamic linker has mapped.
fn search(path: &Path, matches: impl Fn(&Place) -> bool) -> Option<Place> {
    struct Search<'a> {
        path: &'a [u8],
        matches: &'a dyn Fn(&Place) -> bool,
        found: Option<Place>,
    }

    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: `search` is the address passed below, which nothing else uses meanwhile.
        let search = unsafe { &mut *search.cast::<Search<'_>>() };
        // SAFETY: the linker passes a complete record.
        let info = unsafe { &*info };
        if info.dlpi_name.is_null() {
            return 0;
        }
        // SAFETY: the name ends in NUL and lives during the visit.
        let name = unsafe { CStr::from_ptr(info.dlpi_name) };
        if name.to_bytes() != search.path {
            return 0;
        }
        // SAFETY: the linker keeps the program headers mapped as long as the object.
        let place = unsafe { place_of(info) };
        if (search.matches)(&place) {
            search.found = Some(place);
            return 1;
        }
        0
    }

    let mut search = Search {
        path: path.as_os_str().as_bytes(),
        matches: &matches,
        found: None,
    };
    // SAFETY: `visit` expects exactly this argument, which outlives the iteration.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found
}

/// # Safety
///
/// `info` is a record of the dynamic linker, during its visit.
unsafe fn place_of(info: &libc::dl_phdr_info) -> Place {
    let base = info.dlpi_addr as usize;
    // SAFETY: the caller's promise.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let segments = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD)
        .map(|header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            (
                start..start.wrapping_add(header.p_memsz as usize),
                header.p_flags,
            )
        });
    let mut place = Place {
        base,
        mapped: Range {
            start: usize::MAX,
            end: 0,
        },
        readable: Vec::new(),
        code: Vec::new(),
    };
    for (segment, flags) in segments {
        place.mapped.start = place.mapped.start.min(segment.start);
        place.mapped.end = place.mapped.end.max(segment.end);
        if flags & libc::PF_R != 0 {
            place.readable.push(segment.clone());
        }
        if flags & libc::PF_X != 0 {
            place.code.push(segment);
        }
    }
    place
}

/// What the linker said. It gives no error number; where there is no descriptor to spare, it could open
/// nothing.
fn not_opened(image: &Image, error: &libloading::Error) -> LoadError {
    let path = image.origin().to_owned();
    if let Err(source) = image.reopen() {
        return LoadError::Image { path, source };
    }
    let words = match error.source() {
        Some(words) => words.to_string(),
        None => error.to_string(),
    };
    let message = strip_path(&words, &image.path());
    LoadError::Open { path, message }
}

/// The linker names the sealed copy, which tells a person nothing.
fn strip_path(message: &str, path: &Path) -> String {
    message
        .replace(&format!("{}: ", path.display()), "")
        .replace(&path.display().to_string(), "the library")
}
