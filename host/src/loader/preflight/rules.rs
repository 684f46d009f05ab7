//! From facts to findings.

use std::path::PathBuf;

use plg_plugin_api::abi::{self, flag};

use super::facts::{Export, Facts, Hooks, NoteState, PluginNote};
use super::inspect::inspect;
use super::needed;
use super::report::{Finding, Report, Severity, code};

/// What the host allows and what it runs on.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Libraries a plugin may depend on beside those of every glibc system.
    pub allow_needed: Vec<String>,
    /// Directories with libraries, beside those in which the dynamic linker looks on its own.
    pub library_dirs: Vec<PathBuf>,
    /// Refuses search paths and unlisted dependencies instead of warning of them.
    pub hardened: bool,
    /// The library is to run in a process of its own, which its panic may end and whose memory is
    /// given back with it.
    pub isolated: bool,
    /// This machine's glibc, see [`glibc_version`](super::glibc_version); `None` leaves the check to
    /// the dynamic linker.
    pub glibc: Option<(u32, u32)>,
}

/// Says everything that speaks against loading a library, without mapping it.
#[must_use]
pub fn preflight(bytes: &[u8], rules: &Rules) -> Report {
    match inspect(bytes) {
        Ok(facts) => {
            let findings = judge(&facts, rules);
            Report {
                facts: Some(facts),
                findings,
            }
        }
        Err(finding) => Report {
            facts: None,
            findings: vec![finding],
        },
    }
}

/// All findings, those that refuse first, otherwise in the order a reader would ask.
fn judge(facts: &Facts, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    abi(facts, rules, &mut findings);
    symbols(facts, &mut findings);
    needed::check(facts, rules, &mut findings);
    glibc(facts, rules, &mut findings);
    hardening(facts, &mut findings);
    tls(facts, &mut findings);
    if !rules.isolated {
        unloading(facts, &mut findings);
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn abi(facts: &Facts, rules: &Rules, findings: &mut Vec<Finding>) {
    match &facts.note {
        NoteState::Absent if facts.go => findings.push(Finding::new(
            Severity::Refuse,
            code::GO,
            "this is a plugin of Go's `plugin` package: its functions have Go's calling convention, and the \
             Go runtime in it starts only inside the very program it was built with",
            "the plugin's author: export a C function and build with `-buildmode=c-shared` and plg.h, or \
             serve it as a process plugin",
        )),
        NoteState::Absent => findings.push(Finding::new(
            Severity::Refuse,
            code::ABI_MISSING,
            format!(
                "the library has no section `{}`, so it is no plugin of plg",
                abi::NOTE_SECTION
            ),
            "the plugin's author: say plg_plugin_api::plugin!(execute) in a crate of type cdylib, or \
             include plg.h in C; `strip` keeps the section",
        )),
        NoteState::Damaged(why) => findings.push(Finding::new(
            Severity::Refuse,
            code::ABI_CORRUPT,
            format!("the plugin note in `{}` cannot be read: {why}", abi::NOTE_SECTION),
            "the plugin's author: let plugin! or plg.h write the note",
        )),
        NoteState::Present(note) => {
            mismatch(note, findings);
            if !note.has(flag::UNWIND) {
                findings.push(panic_abort(note, rules));
            }
        }
    }
}

fn mismatch(note: &PluginNote, findings: &mut Vec<Finding>) {
    let mut differences = Vec::new();
    let mut differ = |what: &str, plugin: String, host: String| {
        if plugin != host {
            differences.push(format!("{what} {plugin} in the plugin, {host} in the host"));
        }
    };
    if note.endian != abi::NOTE_ENDIAN {
        // The other numbers would be read backwards.
        differ("byte order", order(!IS_BIG).into(), order(IS_BIG).into());
    } else if note.major == abi::MAJOR
        && note.pointer_bits == HOST_BITS
        && note.fingerprint == abi::FINGERPRINT
    {
        return;
    } else {
        let hex = |number: u64| format!("{number:#018x}");
        differ(
            "major version",
            note.major.to_string(),
            abi::MAJOR.to_string(),
        );
        differ(
            "pointer width",
            note.pointer_bits.to_string(),
            HOST_BITS.to_string(),
        );
        differ("fingerprint", hex(note.fingerprint), hex(abi::FINGERPRINT));
    }
    let help = if note.endian == abi::NOTE_ENDIAN && note.major > abi::MAJOR {
        format!(
            "upgrade the host to one of plg {0}, or let the plugin's author build it with plg-plugin-api {1}",
            note.major,
            abi::MAJOR
        )
    } else {
        format!(
            "the plugin's author: build it again for this platform with plg-plugin-api {}",
            abi::MAJOR
        )
    };
    findings.push(Finding::new(
        Severity::Refuse,
        code::ABI_MISMATCH,
        format!(
            "plugin `{}` {} was built for another contract: {}",
            note.name,
            note.version,
            differences.join("; ")
        ),
        help,
    ));
}

const HOST_BITS: u16 = usize::BITS as u16;
const IS_BIG: bool = cfg!(target_endian = "big");

fn order(big: bool) -> &'static str {
    if big { "big-endian" } else { "little-endian" }
}

fn panic_abort(note: &PluginNote, rules: &Rules) -> Finding {
    let severity = if rules.isolated {
        Severity::Warn
    } else {
        Severity::Refuse
    };
    Finding::new(
        severity,
        code::PANIC_ABORT,
        format!(
            "plugin `{}` {} was built with panic = \"abort\": its panic would end the process it runs in",
            note.name, note.version
        ),
        "the operator: run it isolated; or its author: build it with panic = \"unwind\"",
    )
}

fn symbols(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.plugin_note().is_none() {
        // Whoever has no note is told about that, not about what follows from it.
        return;
    }
    let wanted = [
        (abi::DESCRIPTOR_SYMBOL, facts.exports.descriptor),
        (abi::EXECUTE_SYMBOL, facts.exports.execute),
    ];
    for (name, export) in wanted {
        let what = match export {
            Export::Function => continue,
            Export::Absent => "is not exported",
            Export::Imported => "is only imported, not defined",
            Export::Data => "is a variable",
            Export::Indirect => "is an indirect function, which runs code to be looked up",
            Export::Astray => "stands outside of the library's code",
            Export::Other => "is no function",
        };
        findings.push(Finding::new(
            Severity::Refuse,
            code::SYMBOL,
            format!("`{name}` {what}, and must be an exported function"),
            "the plugin's author: let plugin! or plg.h export it, and keep it in the linker's version script",
        ));
    }
}

fn glibc(facts: &Facts, rules: &Rules, findings: &mut Vec<Finding>) {
    if let (Some(needed), Some(here)) = (facts.glibc, rules.glibc)
        && needed > here
    {
        findings.push(Finding::new(
            Severity::Refuse,
            code::GLIBC,
            format!(
                "the library needs glibc {}.{}, and this machine has {}.{}",
                needed.0, needed.1, here.0, here.1
            ),
            format!(
                "the plugin's author: build it on a system with glibc {}.{} or older; or run the host on a newer system",
                here.0, here.1
            ),
        ));
    }
}

fn hardening(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut refuse = |message: String, help: &str| {
        findings.push(Finding::new(
            Severity::Refuse,
            code::HARDENING,
            message,
            help,
        ));
    };
    if facts.executable_stack {
        refuse(
            "the library would make every stack of the process executable".to_owned(),
            "the plugin's author: link with -Wl,-z,noexecstack; assembler files need a .note.GNU-stack section",
        );
    }
    if facts.text_relocations {
        refuse(
            "the library's code has to be rewritten when it is loaded (text relocations)"
                .to_owned(),
            "the plugin's author: compile everything with -fPIC",
        );
    }
    if facts.writable_code > 0 {
        refuse(
            format!(
                "{} of the library's segments are writable and executable at once",
                facts.writable_code
            ),
            "the plugin's author: link without -N and without a linker script that joins code and data",
        );
    }
}

/// glibc keeps less than this for libraries that come late; what asks for more always fails.
const MAX_STATIC_TLS: u64 = 1 << 20;

fn tls(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.static_tls {
        let severity = if facts.tls_bytes > MAX_STATIC_TLS {
            Severity::Refuse
        } else {
            Severity::Warn
        };
        findings.push(Finding::new(
            severity,
            code::STATIC_TLS,
            format!(
                "the library wants its {} bytes of thread-local storage from the reserve made when the \
                 process started, about 2 KiB for all plugins together",
                facts.tls_bytes
            ),
            "the plugin's author: compile without -ftls-model=initial-exec",
        ));
    }
}

fn unloading(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut warn = |code, message: String, help: &str| {
        findings.push(Finding::new(Severity::Warn, code, message, help));
    };
    if facts.nodelete || facts.unique_symbols {
        let why = match (facts.nodelete, facts.unique_symbols) {
            (true, true) => {
                "it is linked with -z nodelete and has symbols that are unique in a process"
            }
            (true, false) => "it is linked with -z nodelete",
            _ => "it has symbols that are unique in a process",
        };
        warn(
            code::PINNED,
            format!(
                "the library can never be unmapped: {why}; after an unload it stays and is counted as retained"
            ),
            "the plugin's author: link without -z nodelete, compile C++ with -fno-gnu-unique; the operator: run it isolated",
        );
    }
    match &facts.hooks {
        Hooks::Bound => {}
        Hooks::Unbound(functions) => warn(
            code::NO_HOOKS,
            format!(
                "the plugin has unload hooks and takes {} from libc nevertheless; after an unload it stays mapped and is counted as retained",
                list(functions)
            ),
            "the plugin's author: let plugin! of this version bind them, and do without threads and keys of C11; \
             the operator: run it isolated",
        ),
        Hooks::Absent => warn(
            code::NO_HOOKS,
            "the plugin has no unload hooks; after an unload it stays mapped and is counted as retained".to_owned(),
            "the plugin's author: use plugin! on Linux with glibc; the operator: run it isolated",
        ),
    }
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
