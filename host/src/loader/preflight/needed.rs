//! What a library depends on, and where it wants that looked for.

use std::path::PathBuf;

use super::facts::Facts;
use super::platform::{LibraryDirs, is_system_library};
use super::report::{Finding, Severity, code};
use super::rules::Rules;

/// Adds what there is to say about dependencies and search paths.
pub(super) fn check(facts: &Facts, rules: &Rules, findings: &mut Vec<Finding>) {
    let own_dirs = search_paths(facts, rules, findings);
    for name in &facts.filters {
        findings.push(refusal(
            format!("the library lets `{}` answer in its place", printable(name)),
            "the plugin's author: link without -f and -F",
        ));
    }
    // Read only when a library has an unusual dependency.
    let mut dirs = None;
    for name in &facts.needed {
        if is_system_library(name) || rules.allow_needed.contains(name) {
            continue;
        }
        if name.contains('/') {
            findings.push(refusal(
                format!("the library depends on the path `{}`", printable(name)),
                "the plugin's author: give the dependency a soname (-Wl,-soname) and link by that name",
            ));
            continue;
        }
        let dirs = dirs.get_or_insert_with(LibraryDirs::of_this_machine);
        if !dirs.have(name, &rules.library_dirs) && !dirs.have(name, &own_dirs) {
            findings.push(missing(name));
        } else {
            findings.push(Finding::new(
                by(rules.hardened),
                code::NEEDED,
                format!(
                    "the library depends on `{}`, which is on this machine and not among the libraries every system has",
                    printable(name)
                ),
                "the plugin's author: link it statically; or the operator: allow it by name",
            ));
        }
    }
}

fn missing(name: &str) -> Finding {
    let help = if name.starts_with("libc.musl") || name == "libc.so" {
        "the plugin was built for musl and this host runs on glibc; its author: build it for a -linux-gnu target"
    } else {
        "the operator: install it; or the plugin's author: link it statically; a library beside the plugin is not found, \
         because the plugin is loaded from a sealed copy"
    };
    refusal(
        format!(
            "the library depends on `{}`, which is in none of this machine's library directories",
            printable(name)
        ),
        help,
    )
}

/// Says what is wrong with the library's own search paths and answers where else it would be right
/// to look: the rules may let such paths pass.
fn search_paths(facts: &Facts, rules: &Rules, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for (tag, path) in [("RPATH", &facts.rpath), ("RUNPATH", &facts.runpath)] {
        let Some(path) = path else {
            continue;
        };
        let astray = path.split(':').find(|part| !is_fixed(part));
        let (severity, message) = match astray {
            Some("") => (
                Severity::Refuse,
                format!(
                    "the library's {tag} `{}` has an empty part, which is the directory the host happens to be in",
                    printable(path)
                ),
            ),
            Some(part) => (
                Severity::Refuse,
                format!(
                    "the library's {tag} `{}` has the relative part `{}`, which depends on the directory the host is in",
                    printable(path),
                    printable(part)
                ),
            ),
            None => (
                by(rules.hardened),
                format!(
                    "the library brings its own search path, {tag} `{}`; `$ORIGIN` in it is not the plugin's directory, \
                     because the plugin is loaded from a sealed copy",
                    printable(path)
                ),
            ),
        };
        findings.push(Finding::new(
            severity,
            code::SEARCH_PATH,
            message,
            "the plugin's author: link without -rpath, or remove it with `patchelf --remove-rpath`",
        ));
        if severity != Severity::Refuse {
            dirs.extend(
                path.split(':')
                    .filter(|part| part.starts_with('/') && !part.contains('$'))
                    .take(MAX_DIRS)
                    .map(PathBuf::from),
            );
        }
    }
    dirs
}

/// Keeps a hostile search path from costing a look at the disk for each of its parts.
const MAX_DIRS: usize = 32;

fn is_fixed(part: &str) -> bool {
    part.starts_with('/') || part.starts_with("$ORIGIN") || part.starts_with("${ORIGIN}")
}

fn by(hardened: bool) -> Severity {
    if hardened {
        Severity::Refuse
    } else {
        Severity::Warn
    }
}

fn refusal(message: String, help: &str) -> Finding {
    Finding::new(Severity::Refuse, code::NEEDED, message, help)
}

/// Names come from the file; control characters in them must not reach a terminal, nor a whole page
/// of text a log line.
fn printable(name: &str) -> String {
    const MAX_SHOWN: usize = 256;
    let mut shown: String = name
        .chars()
        .take(MAX_SHOWN)
        .flat_map(|c| {
            let plain = (!c.is_control()).then_some(c);
            plain.into_iter().chain(
                plain
                    .is_none()
                    .then(|| c.escape_default())
                    .into_iter()
                    .flatten(),
            )
        })
        .collect();
    if name.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
