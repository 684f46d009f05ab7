//! The committed JSON Schema is the one the types describe. `PLG_BLESS=1` writes it anew.
#![cfg(feature = "schema")]

use std::{fs, path::Path};

use plg_packaging::manifest::json_schema;

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin.schema.json");
    let mut current = serde_json::to_string_pretty(&json_schema()).unwrap();
    current.push('\n');
    if std::env::var_os("PLG_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &current).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "packaging/plugin.schema.json is stale: run the test again with PLG_BLESS=1"
    );
}
