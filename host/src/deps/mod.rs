//! Which plugins go together, and in which order. Nothing is read or loaded here.
//!
//! A `plugin.json` says which plugins a plugin calls, and in which versions:
//!
//! ```json
//! "dependencies": { "greeter": "^1.2", "smtp": { "version": ">=2, <4", "optional": true } }
//! ```
//!
//! A range means what it means to cargo, so that a pre-release is in it only if it names one of the same
//! version. A plugin comes after those that it depends on, and goes before them. One that is optional may
//! be absent; when it is there, it has to fit and comes first as well.
//!
//! | question | function |
//! |---|---|
//! | Which versions make these plugins work, all of them? | [`resolve`] |
//! | Which of these plugins can be loaded beside those that are, and why not the others? | [`plan`] |
//! | Can these versions replace those that are loaded? | [`check_change`], and in which [`order`] |
//! | Can these be unloaded? | [`check_unload`], and who comes with them: [`dependants`] |
//!
//! The answers are the same whatever the order of the input, but for packages of equal version. They take
//! time about linear in the number of plugins and dependencies as long as the newest versions go together,
//! and a bounded number of steps in any case. No function calls itself, so chains may be long.
//!
//! | module | what it holds |
//! |---|---|
//! | `package` | [`Package`] |
//! | `plan` | [`resolve`], [`plan`]: the steps in order |
//! | `change` | the questions about what is loaded |
//! | `error`, `chain` | [`DependencyError`] and its lists |
//! | `index`, `set` | the plugins and their releases by number |
//! | `alive` | takes away what cannot be loaded whatever else is |
//! | `choice` | one pass with the newest of everything, which mostly is the answer |
//! | `settled`, `group` | for whom more than that has to be tried |
//! | `search`, `question`, `steps` | the solver, what it is told, and how long it may take |
//! | `explain`, `ring` | why a plugin is refused: the shortest way to the cause |
//! | `proof` | the same, as the solver found it |
//! | `graph` | orders and cycles |

mod alive;
mod chain;
mod change;
mod choice;
mod error;
mod explain;
mod graph;
mod group;
mod index;
mod package;
mod plan;
mod proof;
mod question;
mod ring;
mod search;
mod set;
mod settled;
mod steps;

pub use chain::{Chain, Few};
pub use change::{check_change, check_unload, dependants, order};
pub use error::{DependencyError, Need, Offer};
pub use package::Package;
pub use plan::{Plan, Wanted, plan, resolve};
