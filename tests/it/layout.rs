//! The boundary's layout as plugins with the feature `abi_stable` export it.

use std::fs;

use plg_host::Unloaded;
use plg_tests::isolated;

use crate::support::plugins::{Baseline, host, named, number, refused};
use crate::support::{Variant, library, stamped, stamped_bytes};

isolated! {
    /// Row 66: the check keeps nothing of a library that is gone by the next load.
    fn equal_layouts_load_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let host = host();
        let cycle = |build| {
            let plugin = host.load(stamped(directory.path(), Variant::AbiStable, build)).unwrap();
            assert_eq!(number(&plugin, "build"), build as i64);
            assert_eq!(host.unload("fixture-good").unwrap(), Unloaded::Unmapped);
        };
        let before = Baseline::after(&host, || cycle(1));
        for build in 2..22 {
            cycle(build);
        }
        before.check(&host);
        // What is kept of a library is found out when another stands in its place.
        for build in 22..26 {
            host.load(named(&format!("wedge-{build}"), build)).unwrap();
            cycle(build.into());
        }
        let plugin = host.load(stamped(directory.path(), Variant::AbiStable, 30)).unwrap();
        for build in 31..34 {
            let next = stamped(directory.path(), Variant::AbiStable, build);
            assert_eq!(host.upgrade("fixture-good", next).unwrap().retired, Unloaded::Unmapped);
            assert_eq!(number(&plugin, "build"), build as i64);
        }
    }
}

#[test]
fn plugins_with_and_without_a_layout_replace_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let host = host();
    let plugin = host
        .load(stamped(directory.path(), Variant::AbiStable, 1))
        .unwrap();
    for (build, variant) in [(2, Variant::Debug), (3, Variant::AbiStable)] {
        let next = stamped(directory.path(), variant, build);
        assert_eq!(
            host.upgrade("fixture-good", next).unwrap().retired,
            Unloaded::Unmapped
        );
        assert_eq!(number(&plugin, "build"), build as i64);
    }
}

isolated! {
    /// Row 65: the difference is named, and the library is gone again. The fingerprint of the note
    /// still is the host's, as when somebody forged it.
    fn a_different_layout_is_refused_by_the_name_of_the_field() {
        let directory = tempfile::tempdir().unwrap();
        let host = host();
        let fits = library("fixture-good", Variant::AbiStable);
        let before = Baseline::after(&host, || {
            host.load(&fits).unwrap();
            assert_eq!(host.unload("fixture-good").unwrap(), Unloaded::Unmapped);
        });
        for (there, instead) in [("get_interned", "get_infernal"), ("label_count", "label_comic")] {
            let mut bytes = stamped_bytes(Variant::AbiStable, 1);
            replace(&mut bytes, there, instead);
            let path = directory.path().join("other-layout.so");
            fs::write(&path, bytes).unwrap();
            let text = refused(host.load(&path), "abi.layout");
            assert!(text.contains(there) && text.contains(instead), "{text}");
            before.check(&host);
        }
        assert_eq!(number(&host.load(&fits).unwrap(), "build"), 1);
    }
}

/// Replaces a field's name in the texts of the layout, which list the fields with `;` between.
fn replace(bytes: &mut [u8], there: &str, instead: &str) {
    assert_eq!(there.len(), instead.len());
    let (there, instead) = (there.as_bytes(), instead.as_bytes());
    let places: Vec<usize> = (0..bytes.len() - there.len())
        .filter(|at| bytes[*at..].starts_with(there))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + there.len()].copy_from_slice(instead);
    }
}
