#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plg_fuzz::manifest(input));
