//! What can be known about a shared library without mapping it.
//!
//! `dlopen` runs a library's constructors before anyone can ask for its version, and a truncated or
//! damaged file kills the process it is opened in. So everything is read from the file's bytes first:
//! [`inspect`] says what the library is, [`preflight`] says what follows from it under [`Rules`], all
//! problems at once. No code here is unsafe, none trusts a number from the file, and the work is linear
//! in the tables the dynamic linker itself reads; code and debug sections are never touched.
//!
//! | module | what it holds |
//! |---|---|
//! | `report` | [`Finding`], [`Severity`], [`Report`] and the codes |
//! | `rules` | [`Rules`] and [`preflight`]: from facts to findings |
//! | `needed` | the part of `rules` that looks at dependencies and search paths |
//! | `facts` | [`Facts`] and its parts: plain data |
//! | `foreign` | [`check_foreign`]: the little that is known of a library for another machine |
//! | `inspect` | [`inspect`]: the order in which the tables are read |
//! | `shape` | whether these bytes are a shared library for this machine at all |
//! | `image` | segments and sections, and where an address stands in the file |
//! | `segments` | the program headers that are not loaded but point into what is |
//! | `dynamic` | the dynamic section: which tables there are, and their strings |
//! | `sections` | whether the section headers agree with all that |
//! | `hash` | the symbol hash tables |
//! | `symbols` | the dynamic symbols: exports, hooks, Go |
//! | `versions` | the symbol versions, and with them the glibc that is needed |
//! | `relocations` | what the dynamic linker will write, and where |
//! | `note` | the plugin note |
//! | `platform` | what this machine is and which libraries it has |

mod dynamic;
mod facts;
mod foreign;
mod hash;
mod image;
mod inspect;
mod needed;
mod note;
mod platform;
mod relocations;
mod report;
mod rules;
mod sections;
mod segments;
mod shape;
mod symbols;
mod versions;

pub use facts::{Export, Exports, Facts, Hooks, NoteState, PluginNote};
pub use foreign::check_foreign;
pub use inspect::inspect;
pub use platform::{glibc_version, is_system_library};
pub use report::{Finding, Report, Severity, code};
pub use rules::{Rules, preflight};
