//! The boundary as `abi_stable` sees it, compared field by field.
#![expect(
    unsafe_code,
    reason = "the plugin hands over the address of its layout"
)]

use abi_stable::abi_stability::abi_checking::{
    CheckingGlobals, check_layout_compatibility_with_globals,
};
use abi_stable::type_layout::TypeLayout;
use plg_plugin_api::{abi, layout};

use super::library::Library;
use super::preflight::Facts;

/// The first difference between the plugin's layout and the host's, in words; `None` when there is
/// none, when the plugin exports no layout, and when its minor is another: appended fields differ
/// then, as they may.
///
/// The globals of the check keep pointers into the library, so they are made for this one check and
/// are gone before the library can be closed.
pub(super) fn difference(library: &Library, facts: &Facts) -> Option<String> {
    if facts.plugin_note()?.minor != abi::MINOR {
        return None;
    }
    let theirs = library.layout()?.cast::<TypeLayout>();
    if theirs.is_null() || !theirs.is_aligned() {
        return Some("the exported layout is no layout".to_owned());
    }
    // SAFETY: the plugin exports the address of a static of this type; the fingerprint in its note
    // says that it was made with the same boundary crate.
    let theirs = unsafe { &*theirs };
    let globals = CheckingGlobals::new();
    let outcome = check_layout_compatibility_with_globals(layout::boundary(), theirs, &globals);
    let difference = outcome.err().map(|errors| errors.to_string());
    drop(globals);
    difference
}
