//! The ABI as published: what may never change within a major version.

use std::mem::offset_of;

use plg_plugin_api::abi::{self, Ctx, Descriptor, HostTable, NoteHead, Str, ValueRef};

/// Changing this number breaks every plugin that was ever built: raise `MAJOR` instead. A function
/// appended to a table leaves it as it is.
#[test]
fn the_fingerprint_is_the_published_one() {
    if cfg!(target_pointer_width = "64") {
        assert_eq!(
            abi::FINGERPRINT,
            0x0c5b_c7d2_d182_57c2,
            "{:#018x}",
            abi::FINGERPRINT
        );
    }
    assert_eq!(abi::MAJOR, 1);
}

/// Two words travel in registers on x86-64 and aarch64, more on the stack.
#[test]
fn records_that_travel_by_value_keep_their_size() {
    assert_eq!(size_of::<Ctx>(), 16);
    assert_eq!(size_of::<Str>(), 16);
    assert_eq!(size_of::<ValueRef>(), 16);
    assert_eq!(size_of::<NoteHead>(), 136);
    assert_eq!(Descriptor::FROZEN_SIZE, 88);
}

/// A reader finds `size` before it knows anything else of a table.
#[test]
fn tables_begin_with_their_size() {
    assert_eq!(offset_of!(HostTable, size), 0);
    assert_eq!(offset_of!(Descriptor, size), 0);
}
