//! The main road.

use plg_host::{Context, Host, Unloaded};

use crate::support::{Variant, library, stamped};

#[test]
fn hello_greets() {
    let host = Host::builder().build().unwrap();
    let hello = host.load(library("hello", Variant::Debug)).unwrap();
    let mut ctx = Context::new().with("name", "Ada");
    hello.call("greet", &mut ctx).unwrap();
    assert_eq!(ctx.text("reply"), Some("Hello, Ada!"));
    assert_eq!(host.unload("hello").unwrap(), Unloaded::Unmapped);
}

#[test]
fn an_upgrade_answers_with_the_new_build_and_unmaps_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::builder().build().unwrap();
    let good = host
        .load(stamped(directory.path(), Variant::Debug, 1))
        .unwrap();
    let mut ctx = Context::new();
    good.call("build", &mut ctx).unwrap();
    assert_eq!(ctx.get("build").unwrap().as_i64(), Some(1));
    for build in 2..20 {
        let path = stamped(directory.path(), Variant::Debug, build);
        let upgraded = host.upgrade("fixture-good", path).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        good.call("build", &mut ctx).unwrap();
        assert_eq!(ctx.get("build").unwrap().as_i64(), Some(build as i64));
    }
}
