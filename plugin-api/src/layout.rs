//! The boundary described by `abi_stable`, field by field.
use abi_stable::StableAbi;
use abi_stable::type_layout::TypeLayout;

use crate::abi::{Ctx, Descriptor, EntryRef, HostTable, NoteHead, Str, ValueRef};

/// Holds every boundary record, so that one layout covers them all. No value of it ever exists.
#[repr(C)]
#[derive(StableAbi)]
struct Boundary {
    text: Str,
    value: ValueRef,
    entry: EntryRef,
    context: Ctx,
    host_table: HostTable,
    descriptor: Descriptor,
    note: NoteHead,
}

/// The layout of every boundary record as this side was compiled.
#[must_use]
pub fn boundary() -> &'static TypeLayout {
    Boundary::LAYOUT
}
