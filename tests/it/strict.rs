//! What the host answers to a plugin in C that breaks the rules the Rust API keeps by type.

use plg_host::{Context, Host};

use crate::support::plugins::with_header;

#[test]
fn each_broken_rule_has_its_code_and_changes_nothing() {
    let host = Host::builder().build().unwrap();
    let strict = host.load(with_header("strict.c", &[], &[])).unwrap();
    let mut ctx = Context::new().with("secret", 7);
    strict.call("keep", &mut ctx).unwrap();
    let cases = [
        ("stale", "ctx.expired"),
        ("bad.key", "ctx.key"),
        ("bad.tag", "ctx.type"),
        ("bad.text", "ctx.type"),
        ("bad.address", "ctx.type"),
    ];
    for (label, code) in cases {
        let error = strict.call(label, &mut ctx).unwrap_err();
        assert_eq!(error.code(), code, "{label}: {error}");
        assert_eq!(ctx.len(), 1, "{label}: {ctx:?}");
    }
    strict.call("keep", &mut ctx).unwrap();
}
