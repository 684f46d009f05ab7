//! What preflight says of libraries that are wrong in one way each. Nothing here is ever mapped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plg_host::preflight::{
    Export, Hooks, Report, Rules, Severity, code, glibc_version, inspect, is_system_library,
    preflight,
};
use plg_plugin_api::abi;

use crate::support::cc::{build, compile};

const DT_NULL: u64 = 0;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_INIT: u64 = 12;
const DT_INIT_ARRAY: u64 = 25;
const DT_INIT_ARRAYSZ: u64 = 27;
const DT_RELR: u64 = 36;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_RELACOUNT: u64 = 0x6fff_fff9;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;

#[test]
fn a_good_plugin_passes_without_a_word() {
    let bytes = plugin(&[]);
    let report = check(&bytes);
    assert_eq!(codes(&report), []);
    let facts = report.into_facts().unwrap();
    let note = facts.plugin_note().unwrap();
    assert_eq!((&*note.name, &*note.version), ("fixture", "1.2.3"));
    assert_eq!(note.manifest, br#"{"name":"fixture"}"#);
    assert_eq!(
        (note.fingerprint, note.major),
        (abi::FINGERPRINT, abi::MAJOR)
    );
    assert!(note.has(abi::flag::UNWIND) && !note.has(abi::flag::DEBUG));
    assert_eq!(facts.exports.execute, Export::Function);
    assert_eq!(facts.exports.descriptor, Export::Function);
    assert_eq!(facts.exports.layout, Export::Absent);
    assert_eq!(facts.hooks, Hooks::Bound);
    assert!(facts.unloadable());
    let size = facts.image_size();
    assert!((0x2000..0x10_0000).contains(&size), "{size:#x}");
}

#[test]
fn bytes_need_not_stand_at_an_even_address() {
    let bytes = plugin(&[]);
    let whole = inspect(&bytes).unwrap();
    let mut shifted = vec![0];
    shifted.extend_from_slice(&bytes);
    assert_eq!(inspect(&shifted[1..]), Ok(whole));
}

/// Row 63.
#[test]
fn what_is_no_shared_library_is_called_by_its_name() {
    let cases: [(&[u8], &str); 14] = [
        (b"", "empty"),
        (b"#!/bin/sh\necho hi\n", "script"),
        (b"{ \"name\": \"greeter\" }\n", "text"),
        (b"MZ\x90\0\x03", "Windows"),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "Mach-O"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"PK\x03\x04\x14\0", "zip"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"<HTML><head>", "HTML"),
        (b"!<arch>\nlib.o/", "static library"),
        (b"\0asm\x01\0\0\0", "WebAssembly"),
        (&[0; 4096], "zeros"),
        (&[1, 2, 3, 4, 5, 6, 7, 8], "unknown data"),
        (b"version https://git-lfs.github.com/spec/v1", "git-lfs"),
    ];
    for (bytes, name) in cases {
        let message = refused(bytes, code::FORMAT);
        assert!(message.contains(name), "{name}: {message}");
    }
}

/// Row 63.
#[test]
fn libraries_for_other_machines_are_refused_with_both_sides() {
    let cases: [(usize, u8, &str); 4] = [
        (4, 1, "32-bit"),
        (5, 2, "big-endian"),
        (18, 40, "arm"),
        (7, 9, "operating system"),
    ];
    for (at, value, name) in cases {
        let mut bytes = plugin(&[]);
        bytes[at] = value;
        let message = refused(&bytes, code::FORMAT);
        assert!(
            message.contains(name) && message.contains("this host"),
            "{message}"
        );
    }
}

/// Row 63.
#[test]
fn executables_and_object_files_are_refused() {
    let mut core = plugin(&[]);
    core[16] = 4;
    refused(&core, code::FORMAT);
    let kinds: [&[&str]; 5] = [
        &["-no-pie"],
        &["-pie", "-fPIE"],
        &["-static-pie", "-fPIE"],
        &["-static"],
        &["-c"],
    ];
    for flags in kinds {
        let bytes = read(&build("program.c", flags, &[]));
        refused(&bytes, code::FORMAT);
    }
}

/// Row 63.
#[test]
fn a_library_in_which_nothing_can_be_looked_up_is_refused() {
    let mut elf = Elf(plugin(&[]));
    let header = elf.header(PT_DYNAMIC);
    elf.set_u32(header, 0);
    refused(&elf.0, code::FORMAT);

    let mut elf = Elf(plugin(&[]));
    let entry = elf.entry(DT_SYMTAB);
    // A tag of the operating system's range that means nothing.
    elf.set_u64(entry, 0x6000_0ddd);
    refused(&elf.0, code::FORMAT);
}

/// Row 52.
#[test]
fn every_truncation_is_refused() {
    for bytes in [plugin(&[]), linked(&["-s"], &["SQUARE_ROOT"])] {
        let step = (bytes.len() / 64).max(1);
        let lengths = (0..64)
            .map(|index| index * step)
            .chain((0..bytes.len()).step_by(7))
            .chain(bytes.len() - 64..bytes.len());
        for length in lengths {
            let report = check(&bytes[..length]);
            let refusal = report.refusal().map(|finding| finding.code);
            assert!(
                matches!(refusal, Some(code::CORRUPT | code::FORMAT)),
                "cut to {length} of {}: {refusal:?}",
                bytes.len()
            );
        }
    }
}

/// Row 53.
#[test]
fn four_flipped_bits_never_panic() {
    let good = plugin(&[]);
    let mut refused = 0;
    for seed in 1..=400 {
        let mut random = Xorshift(seed);
        let mut bytes = good.clone();
        for _ in 0..4 {
            let at = random.below(4096);
            bytes[at] ^= 1 << random.below(8);
        }
        refused += usize::from(check(&bytes).refusal().is_some());
    }
    // Many flips hit padding; those that hit a table are what dlopen would die of.
    assert!(refused > 100, "{refused} of 400 refused");
}

#[test]
fn twenty_thousand_mutations_neither_panic_nor_take_long() {
    let sources = [
        plugin(&[]),
        linked(
            &["-Wl,--hash-style=both", "-Wl,-z,notext", "-lm"],
            &["SQUARE_ROOT", "THREADS", "TLS_BYTES=64", "TEXT_RELOCATION"],
        ),
    ];
    let interesting = [0, 1, 0x7f, 0x80, 0xff];
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    for round in 0..20_000 {
        let mut elf = Elf(sources[round % sources.len()].clone());
        let tables = elf.tables();
        for _ in 0..=random.below(6) {
            let (start, size) = tables[random.below(tables.len())];
            let at = start + random.below(size);
            match random.below(3) {
                0 => elf.0[at] ^= 1 << random.below(8),
                1 => elf.0[at] = interesting[random.below(interesting.len())],
                _ => {
                    let word = at.min(elf.0.len() - 8);
                    let wild = random.next() >> random.below(64);
                    elf.set_u64(word, wild);
                }
            }
        }
        let start = Instant::now();
        let report = check(&elf.0);
        let took = start.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "round {round} took {took:?}: {report:?}"
        );
    }
}

#[test]
fn segments_that_lead_outside_of_the_file_are_corrupt() {
    // Words of the refusal, place in the program header, and what to put there.
    let cases: [(&str, usize, u64); 7] = [
        ("cut off", 8, 1 << 40),
        ("differ modulo", 16, 0x10_0123),
        ("cut off", 32, 1 << 40),
        ("only 0x1 of memory", 40, 1),
        ("address space", 40, 5 << 30),
        ("outside of the address space", 40, u64::MAX - 0x1000),
        ("power of two", 48, 3),
    ];
    for (words, at, value) in cases {
        let mut elf = Elf(plugin(&[]));
        // The last one, so that none comes after it.
        let loads = elf.headers().filter(|header| elf.u32(*header) == PT_LOAD);
        let header = loads.last().unwrap();
        elf.set_u64(header + at, value);
        let message = refused(&elf.0, code::CORRUPT);
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn segments_out_of_order_are_corrupt() {
    let mut elf = Elf(plugin(&[]));
    let header = elf.header(PT_LOAD);
    let (first, second) = (header, header + 56);
    for at in (0..56).step_by(8) {
        let (one, other) = (elf.u64(first + at), elf.u64(second + at));
        elf.set_u64(first + at, other);
        elf.set_u64(second + at, one);
    }
    assert!(refused(&elf.0, code::CORRUPT).contains("before the one ahead"));
}

#[test]
fn other_program_headers_must_point_into_what_is_loaded() {
    for (kind, at, value) in [
        (PT_DYNAMIC, 16, 0x7000_0000_u64),
        (PT_DYNAMIC, 8, 0x10),
        (PT_NOTE, 16, 0x7000_0000),
        (PT_TLS, 40, 1 << 40),
        (PT_TLS, 48, 3),
        (PT_GNU_RELRO, 40, 1 << 30),
    ] {
        let mut elf = Elf(linked(&[], &["TLS_BYTES=64"]));
        let header = elf.header(kind);
        elf.set_u64(header + at, value);
        refused(&elf.0, code::CORRUPT);
    }
}

#[test]
fn a_note_that_is_longer_than_its_segment_is_corrupt() {
    let mut elf = Elf(plugin(&[]));
    let header = elf.header(PT_NOTE);
    let note = place(elf.u64(header + 8));
    elf.set_u32(note + 4, 0xffff_fff0);
    assert!(refused(&elf.0, code::CORRUPT).contains("note"));
}

#[test]
fn the_dynamic_section_must_end_and_point_into_what_is_loaded() {
    for tag in [
        DT_STRTAB,
        DT_SYMTAB,
        DT_RELA,
        DT_STRSZ,
        DT_INIT,
        DT_INIT_ARRAY,
        DT_INIT_ARRAYSZ,
        DT_GNU_HASH,
        DT_VERNEED,
        DT_VERSYM,
    ] {
        for value in [0x7000_0000, u64::MAX, u64::MAX - 7] {
            let mut elf = Elf(linked(&["-lm"], &["SQUARE_ROOT"]));
            let entry = elf.entry(tag);
            elf.set_u64(entry + 8, value);
            refused(&elf.0, code::CORRUPT);
        }
    }
    let mut elf = Elf(plugin(&[]));
    let (start, size) = elf.range(PT_DYNAMIC);
    for entry in (start..start + size).step_by(16) {
        if elf.u64(entry) == DT_NULL {
            elf.set_u64(entry, 0x6000_0ddd);
        }
    }
    assert!(refused(&elf.0, code::CORRUPT).contains("end mark"));
}

#[test]
fn sizes_that_end_the_process_are_corrupt() {
    for (tag, value) in [(DT_SYMENT, 23), (DT_RELACOUNT, 1_000), (DT_STRSZ, 1)] {
        let mut elf = Elf(plugin(&[]));
        let entry = elf.entry(tag);
        elf.set_u64(entry + 8, value);
        refused(&elf.0, code::CORRUPT);
    }
    // One without its size.
    let mut elf = Elf(plugin(&[]));
    let entry = elf.entry(DT_INIT_ARRAYSZ);
    elf.set_u64(entry, 0x6000_0ddd);
    refused(&elf.0, code::CORRUPT);
}

#[test]
fn hash_tables_in_which_a_search_never_ends_are_corrupt() {
    let mut elf = Elf(linked(&["-Wl,--hash-style=sysv"], &[]));
    let table = elf.place_of(DT_HASH);
    let buckets = elf.u32(table) as usize;
    // Every symbol is followed by itself.
    for index in 1..elf.u32(table + 4) {
        elf.set_u32(table + 8 + 4 * (buckets + index as usize), index);
    }
    assert!(refused(&elf.0, code::CORRUPT).contains("circle"));

    let mut elf = Elf(plugin(&[]));
    let table = elf.place_of(DT_GNU_HASH);
    let (buckets, filter) = (elf.u32(table) as usize, elf.u32(table + 8) as usize);
    // No chain ends: the words that follow the table up to the end of the segment are made even.
    let chains = table + 16 + 8 * filter + 4 * buckets;
    let (start, size) = elf.range(PT_LOAD);
    for at in (chains..start + size).step_by(4) {
        elf.0[at] &= 0xfe;
    }
    refused(&elf.0, code::CORRUPT);

    for (at, value) in [(8, 3), (8, 0), (8, 1 << 31), (0, u32::MAX), (4, u32::MAX)] {
        let mut elf = Elf(plugin(&[]));
        let table = elf.place_of(DT_GNU_HASH);
        elf.set_u32(table + at, value);
        refused(&elf.0, code::CORRUPT);
    }
}

#[test]
fn names_versions_and_relocations_out_of_range_are_corrupt() {
    let good = linked(&["-lm"], &["SQUARE_ROOT"]);
    let patch = |tag: u64, at: usize, value: u32| {
        let mut elf = Elf(good.clone());
        let table = elf.place_of(tag);
        elf.set_u32(table + at, value);
        refused(&elf.0, code::CORRUPT)
    };
    assert!(patch(DT_SYMTAB, 24, 0x00ff_ffff).contains("name of symbol 1"));
    assert!(patch(DT_VERSYM, 4, 0x7fff_7fff).contains("version"));
    assert!(patch(DT_VERNEED, 4, 1).contains("does not depend on it"));
    assert!(patch(DT_VERNEED, 12, 0x7fff_ffff).contains("versions"));
    assert!(patch(DT_RELA, 4, 0x7fff_ffff).contains("relocation 0"));
    assert!(patch(DT_RELA, 12, 0x00ff_ffff).contains("symbol"));
    // The constructor's address: the addend of its relocation.
    assert!(patch(DT_RELA, 16, 0x0100_0000).contains("calls"));
    // A relocation that does nothing leaves a constructor without an address.
    assert!(patch(DT_RELA, 8, 0).contains("number 0 is not"));
}

#[test]
fn packed_relocations_are_read_too() {
    let good = linked(&["-Wl,-z,pack-relative-relocs"], &[]);
    assert_eq!(codes(&check(&good)), []);
    let mut elf = Elf(good);
    let table = elf.place_of(DT_RELR);
    for (word, words) in [(0x7000_0000, "writes to"), (1, "continues at no address")] {
        elf.set_u64(table, word);
        assert!(refused(&elf.0, code::CORRUPT).contains(words));
    }
    // What is called in the end stands in the list itself.
    let mut elf = Elf(linked(&["-Wl,-z,pack-relative-relocs"], &[]));
    let constructor = elf.place_of(DT_INIT_ARRAY);
    elf.set_u64(constructor, 8);
    assert!(refused(&elf.0, code::CORRUPT).contains("calls"));
}

#[test]
fn sections_must_agree_with_what_the_dynamic_linker_reads() {
    // Each of these still points into the library.
    for (tag, by) in [(DT_RELASZ, -24), (DT_INIT_ARRAYSZ, -8), (DT_VERSYM, 2)] {
        let mut elf = Elf(linked(&["-lm"], &["SQUARE_ROOT", "CONSTRUCTOR=\"/\""]));
        let entry = elf.entry(tag);
        let value = elf.u64(entry + 8).wrapping_add_signed(by);
        elf.set_u64(entry + 8, value);
        assert!(refused(&elf.0, code::CORRUPT).contains("section"), "{tag}");
    }
    let mut elf = Elf(plugin(&[]));
    let data = elf.headers().filter(|header| elf.u32(*header) == PT_LOAD);
    let data = data.last().unwrap();
    // The variables without a value are no longer mapped.
    let size = elf.u64(data + 32);
    elf.set_u64(data + 40, size);
    assert!(refused(&elf.0, code::CORRUPT).contains("no segment maps them"));
}

#[test]
fn sections_that_lead_outside_of_the_file_are_corrupt() {
    let good = Elf(plugin(&[]));
    let last = good.0.len() - 64;
    for (at, value) in [(24, 1 << 40), (24, u64::MAX), (32, 1 << 40)] {
        let mut elf = Elf(good.0.clone());
        elf.set_u64(last + at, value);
        // The last one is the table of section names.
        assert!(refused(&elf.0, code::CORRUPT).contains("section names"));
        // The one ahead of it is not mapped either.
        let mut elf = Elf(good.0.clone());
        elf.set_u64(last - 64 + at, value);
        assert!(refused(&elf.0, code::CORRUPT).contains("and the file has"));
    }
}

#[test]
fn an_elf_header_with_other_sizes_is_corrupt() {
    for (at, words) in [
        (20, "has version"),
        (52, "has header size"),
        (54, "has program header size"),
        (56, "no segments"),
        (60, "cut off"),
    ] {
        let mut bytes = plugin(&[]);
        bytes[at] = if at == 56 { 0 } else { 0xff };
        let message = refused(&bytes, code::CORRUPT);
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn a_library_without_a_note_is_no_plugin() {
    let report = check(&plugin(&["NOTE_ABSENT"]));
    assert_eq!(
        codes(&report),
        [
            (Severity::Refuse, code::ABI_MISSING),
            (Severity::Warn, code::NO_HOOKS)
        ]
    );
}

#[test]
fn a_plugin_of_go_is_told_so() {
    let report = check(&plugin(&["NOTE_ABSENT", "GO"]));
    assert_eq!(report.refusal().unwrap().code, code::GO);
    assert!(report.facts.unwrap().go);
    // What only looks like one but has a note is a plugin.
    assert!(check(&plugin(&["GO"])).refusal().is_none());
}

#[test]
fn a_note_that_cannot_be_read_is_corrupt() {
    let cases = [
        ("NOTE_SHORT", "fixed part alone"),
        ("NOTE_MAGIC=\"plgnote9\"", "plgnote9"),
        ("NOTE_SIZE=16", "16 bytes"),
        ("NOTE_SIZE=0x7fffffff", "section's"),
        ("NOTE_MANIFEST_LEN=4096", "4096 bytes"),
        ("NOTE_MANIFEST_LEN=0xffffffff", "4294967295"),
        ("NOTE_MANIFEST_LEN=3", "bytes follow"),
        ("NOTE_TRAILER=\"plgnote1\"", "bytes follow"),
        ("NOTE_NAME=\"\"", "name is empty"),
        ("NOTE_NAME=\"a\\0b\"", "after a NUL"),
        ("NOTE_NAME=\"caf\\xe9\"", "not UTF-8"),
        ("NOTE_VERSION=\"1\\n2\"", "control"),
        ("NOTE_ENDIAN=7", "byte order mark"),
    ];
    for (define, words) in cases {
        let message = refused(&plugin(&[define]), code::ABI_CORRUPT);
        assert!(message.contains(words), "{define}: {message}");
    }
}

/// Rows 57 and 65.
#[test]
fn another_contract_is_refused_with_both_sides_and_nothing_runs() {
    let cases = [
        (
            "NOTE_MAJOR=2",
            "major version 2 in the plugin, 1 in the host",
        ),
        (
            "NOTE_FINGERPRINT=0x1234ULL",
            "fingerprint 0x0000000000001234 in the plugin",
        ),
        (
            "NOTE_BITS=32",
            "pointer width 32 in the plugin, 64 in the host",
        ),
        ("NOTE_ENDIAN=0x0201", "byte order big-endian in the plugin"),
    ];
    for (define, words) in cases {
        let message = refused(&plugin(&[define]), code::ABI_MISMATCH);
        assert!(message.contains(words), "{define}: {message}");
    }
    let mark = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preflight-constructor-ran");
    let define = format!("CONSTRUCTOR=\"{}\"", mark.display());
    let report = check(&plugin(&["NOTE_MAJOR=2", &define]));
    assert_eq!(report.refusal().unwrap().code, code::ABI_MISMATCH);
    assert!(report.facts.unwrap().constructors >= 2);
    assert!(!mark.exists());
}

/// Row 65.
#[test]
fn minor_versions_and_debug_builds_may_differ() {
    for define in ["NOTE_MINOR=99", "NOTE_FLAGS=7"] {
        assert_eq!(codes(&check(&plugin(&[define]))), [], "{define}");
    }
}

/// Row 65.
#[test]
fn a_panic_that_aborts_is_refused_unless_isolated() {
    let bytes = plugin(&["NOTE_FLAGS=4"]);
    refused(&bytes, code::PANIC_ABORT);
    let isolated = Rules {
        isolated: true,
        ..Rules::default()
    };
    assert_eq!(
        codes(&preflight(&bytes, &isolated)),
        [(Severity::Warn, code::PANIC_ABORT)]
    );
}

/// Row 64.
#[test]
fn required_symbols_must_be_functions_of_the_library() {
    let cases = [
        ("EXECUTE_ABSENT", "`execute` is not exported"),
        ("EXECUTE_HIDDEN", "`execute` is not exported"),
        ("EXECUTE_DATA", "`execute` is a variable"),
        ("EXECUTE_IFUNC", "`execute` is an indirect function"),
        ("EXECUTE_IMPORTED", "`execute` is only imported"),
        ("DESCRIPTOR_ABSENT", "`plg_descriptor_v1` is not exported"),
        ("DESCRIPTOR_DATA", "`plg_descriptor_v1` is a variable"),
        ("DESCRIPTOR_TLS", "`plg_descriptor_v1` is no function"),
    ];
    for (define, words) in cases {
        let message = refused(&plugin(&[define]), code::SYMBOL);
        assert!(message.contains(words), "{define}: {message}");
    }
}

/// Row 64.
#[test]
fn a_function_outside_of_the_code_is_refused() {
    let mut elf = Elf(plugin(&[]));
    let symbols = elf.place_of(DT_SYMTAB);
    let strings = elf.place_of(DT_STRTAB);
    let symbol = (1..)
        .map(|index| symbols + 24 * index)
        .find(|symbol| elf.0[strings + elf.u32(*symbol) as usize..].starts_with(b"execute\0"))
        .unwrap();
    let data = elf.place_of(DT_INIT_ARRAY) as u64;
    elf.set_u64(symbol + 8, data);
    assert!(refused(&elf.0, code::SYMBOL).contains("outside of the library's code"));
}

/// Row 55.
#[test]
fn dependencies_must_be_there_and_are_best_on_the_list() {
    let absent = compile("dependency.c", &["-Wl,-soname,libplg-not-there.so.9"], &[]);
    let absent = read_linked_with(&absent);
    assert!(refused(&absent, code::NEEDED).contains("libplg-not-there.so.9"));
    let allowed = Rules {
        allow_needed: vec!["libplg-not-there.so.9".to_owned()],
        ..Rules::default()
    };
    assert_eq!(codes(&preflight(&absent, &allowed)), []);

    let found = compile("dependency.c", &[], &["EXTRA"]);
    let name = found.file_name().unwrap().to_str().unwrap();
    let soname = format!("-Wl,-soname,{name}");
    let found = read_linked_with(&compile("dependency.c", &[&soname], &["EXTRA"]));
    let mut rules = Rules {
        library_dirs: vec![Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-fixtures")],
        ..Rules::default()
    };
    let report = preflight(&found, &rules);
    assert_eq!(codes(&report), [(Severity::Warn, code::NEEDED)]);
    rules.hardened = true;
    let report = preflight(&found, &rules);
    assert_eq!(codes(&report), [(Severity::Refuse, code::NEEDED)]);
}

/// Row 55.
#[test]
fn a_dependency_by_path_is_refused() {
    // Without a soname, the path it was linked by is what it is looked for by.
    let bytes = read_linked_with(&compile("dependency.c", &[], &[]));
    assert!(refused(&bytes, code::NEEDED).contains("path"));
    let bytes = linked(&["-Wl,--auxiliary,libother.so"], &[]);
    assert!(refused(&bytes, code::NEEDED).contains("answer in its place"));
}

/// Row 56.
#[test]
fn search_paths_are_warned_of_or_refused() {
    let hardened = Rules {
        hardened: true,
        ..Rules::default()
    };
    for tags in ["-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"] {
        for path in ["$ORIGIN", "/opt/lib", "/opt/lib:${ORIGIN}/lib"] {
            let bytes = linked(&[tags, "-Wl,-rpath", &format!("-Wl,{path}")], &[]);
            let warned = [(Severity::Warn, code::SEARCH_PATH)];
            assert_eq!(codes(&check(&bytes)), warned, "{tags} {path}");
            let refused = [(Severity::Refuse, code::SEARCH_PATH)];
            assert_eq!(codes(&preflight(&bytes, &hardened)), refused, "{path}");
        }
        for path in ["lib", "/opt/lib::/usr/lib", ":/opt/lib", "$LIB/x", "../lib"] {
            let bytes = linked(&[tags, "-Wl,-rpath", &format!("-Wl,{path}")], &[]);
            refused(&bytes, code::SEARCH_PATH);
        }
    }
}

#[test]
fn a_newer_glibc_is_refused_with_both_versions() {
    let bytes = linked(&["-lm"], &["SQUARE_ROOT"]);
    let on = |glibc| {
        let rules = Rules {
            glibc,
            ..Rules::default()
        };
        preflight(&bytes, &rules)
    };
    let needed = on(None).into_facts().unwrap().glibc.unwrap();
    assert!(on(Some(needed)).refusal().is_none());
    let report = on(Some((2, 1)));
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.code, code::GLIBC);
    let both = format!(
        "needs glibc {}.{}, and this machine has 2.1",
        needed.0, needed.1
    );
    assert!(refusal.message.contains(&both), "{}", refusal.message);
}

#[test]
fn versions_of_glibc_are_read_as_it_writes_them() {
    assert_eq!(glibc_version("2.36"), Some((2, 36)));
    assert_eq!(glibc_version("2.2.5"), Some((2, 2)));
    assert_eq!(glibc_version("2.36-rc1\n"), Some((2, 36)));
    assert_eq!(glibc_version("2"), None);
    assert_eq!(glibc_version("PRIVATE"), None);
    assert!(is_system_library("libc.so.6") && is_system_library("ld-linux-x86-64.so.2"));
    assert!(!is_system_library("libcurl.so.4") && !is_system_library("libc.so"));
}

/// Row 69.
#[test]
fn writable_code_in_any_form_is_refused() {
    refused(&linked(&["-Wl,-z,execstack"], &[]), code::HARDENING);
    let text = linked(&["-Wl,-z,notext"], &["TEXT_RELOCATION"]);
    assert!(refused(&text, code::HARDENING).contains("text relocations"));

    let mut elf = Elf(plugin(&[]));
    let header = elf.header(PT_GNU_STACK);
    elf.set_u32(header, 0x6fff_ffff);
    assert!(refused(&elf.0, code::HARDENING).contains("stack"));

    let mut elf = Elf(plugin(&[]));
    let code_segment = elf.header(PT_LOAD) + 56;
    elf.set_u32(code_segment + 4, 7);
    assert!(refused(&elf.0, code::HARDENING).contains("writable and executable"));
}

#[test]
fn static_thread_local_storage_is_told_with_its_size() {
    let report = check(&linked(&[], &["TLS_BYTES=96"]));
    assert_eq!(codes(&report), [(Severity::Warn, code::STATIC_TLS)]);
    assert!(report.findings[0].message.contains("96 bytes"));
    let much = linked(&[], &["TLS_BYTES=2097152"]);
    refused(&much, code::STATIC_TLS);
}

#[test]
fn what_can_never_be_unmapped_is_warned_of() {
    for bytes in [linked(&["-Wl,-z,nodelete"], &[]), plugin(&["UNIQUE"])] {
        let report = check(&bytes);
        assert_eq!(codes(&report), [(Severity::Warn, code::PINNED)]);
        assert!(!report.into_facts().unwrap().unloadable());
    }
}

#[test]
fn hooks_that_are_missing_or_not_bound_are_warned_of() {
    let report = check(&plugin(&["NOTE_FLAGS=1"]));
    assert_eq!(codes(&report), [(Severity::Warn, code::NO_HOOKS)]);
    let facts = report.into_facts().unwrap();
    assert_eq!(facts.hooks, Hooks::Absent);
    assert!(!facts.unloadable());

    let report = check(&plugin(&["THREADS"]));
    assert_eq!(codes(&report), [(Severity::Warn, code::NO_HOOKS)]);
    let facts = report.into_facts().unwrap();
    assert!(!facts.unloadable());
    let Hooks::Unbound(mut functions) = facts.hooks else {
        panic!("{:?}", facts.hooks)
    };
    functions.sort_unstable();
    assert_eq!(
        functions,
        [
            "__cxa_thread_atexit_impl",
            "pthread_create",
            "pthread_key_create",
            "thrd_create",
            "tss_create"
        ]
    );
}

#[test]
fn all_problems_are_said_at_once() {
    let flags = ["-Wl,-z,execstack", "-Wl,-z,nodelete", "-Wl,-rpath,/opt/lib"];
    let report = check(&linked(&flags, &["NOTE_FLAGS=0", "EXECUTE_ABSENT"]));
    assert_eq!(
        codes(&report),
        [
            (Severity::Refuse, code::PANIC_ABORT),
            (Severity::Refuse, code::SYMBOL),
            (Severity::Refuse, code::HARDENING),
            (Severity::Warn, code::SEARCH_PATH),
            (Severity::Warn, code::PINNED),
            (Severity::Warn, code::NO_HOOKS),
        ]
    );
    assert!(
        report
            .findings
            .iter()
            .all(|finding| !finding.help.is_empty())
    );
}

/// A plugin with these definitions.
fn plugin(defines: &[&str]) -> Vec<u8> {
    linked(&[], defines)
}

fn linked(flags: &[&str], defines: &[&str]) -> Vec<u8> {
    read(&compile("plugin.c", flags, defines))
}

fn read_linked_with(library: &Path) -> Vec<u8> {
    let library = library.to_str().expect("the path of the build is UTF-8");
    linked(&[library], &["DEPENDENCY"])
}

fn read(path: &PathBuf) -> Vec<u8> {
    fs::read(path).expect("the fixture was just built")
}

fn check(bytes: &[u8]) -> Report {
    preflight(bytes, &Rules::default())
}

/// The message of the refusal, which must have this code and say who should act.
#[track_caller]
fn refused(bytes: &[u8], code: &str) -> String {
    let report = check(bytes);
    let refusal = report.refusal().expect("the library is refused");
    assert_eq!(refusal.code, code, "{}", refusal.message);
    assert!(!refusal.help.is_empty());
    refusal.message.clone()
}

fn codes(report: &Report) -> Vec<(Severity, &'static str)> {
    let pair = |finding: &plg_host::preflight::Finding| (finding.severity, finding.code);
    report.findings.iter().map(pair).collect()
}

/// A library whose bytes are changed by what they mean.
struct Elf(Vec<u8>);

impl Elf {
    fn u32(&self, at: usize) -> u32 {
        let word = self.0[at..].first_chunk();
        u32::from_ne_bytes(*word.expect("the place is inside the file"))
    }

    fn u64(&self, at: usize) -> u64 {
        let word = self.0[at..].first_chunk();
        u64::from_ne_bytes(*word.expect("the place is inside the file"))
    }

    fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }

    fn headers(&self) -> impl Iterator<Item = usize> {
        let start = place(self.u64(32));
        let count = usize::from(self.0[56]);
        (0..count).map(move |index| start + 56 * index)
    }

    /// Where the first program header of a type is.
    fn header(&self, kind: u32) -> usize {
        self.headers()
            .find(|header| self.u32(*header) == kind)
            .expect("the fixture has such a header")
    }

    /// What that header covers of the file.
    fn range(&self, kind: u32) -> (usize, usize) {
        let header = self.header(kind);
        let number = |at| place(self.u64(header + at));
        (number(8), number(32))
    }

    /// Where the entry of the dynamic section with this tag is.
    fn entry(&self, tag: u64) -> usize {
        let (start, size) = self.range(PT_DYNAMIC);
        (start..start + size)
            .step_by(16)
            .find(|entry| self.u64(*entry) == tag)
            .unwrap_or_else(|| panic!("the library has no entry {tag:#x}"))
    }

    /// Where the file has the table that entry points to.
    fn place_of(&self, tag: u64) -> usize {
        let address = self.u64(self.entry(tag) + 8);
        let load = self
            .headers()
            .filter(|header| self.u32(*header) == PT_LOAD)
            .find(|header| {
                let start = self.u64(header + 16);
                (start..start + self.u64(header + 32)).contains(&address)
            })
            .expect("the table is in the file");
        place(address - self.u64(load + 16) + self.u64(load + 8))
    }

    /// What preflight reads: start and size of each table.
    fn tables(&self) -> Vec<(usize, usize)> {
        let sections = place(self.u64(40));
        let (dynamic, dynamic_size) = self.range(PT_DYNAMIC);
        vec![
            (0, 64),
            (64, 56 * usize::from(self.0[56])),
            self.range(PT_LOAD),
            (dynamic, dynamic_size),
            (sections, self.0.len() - sections),
        ]
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("an address fits a word")
}

/// Numbers that look random and are the same in every run.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        place(self.next() % limit as u64)
    }
}
