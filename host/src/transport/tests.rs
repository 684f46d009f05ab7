//! State that goes from one mapped library to the next.

use std::path::Path;
use std::process::{self, Command};
use std::time::Duration;
use std::{env, fs};

use plg_plugin_api::abi::status;

use super::{InProcess, Transport};
use crate::context::frame::{Call, Callee};
use crate::context::{Context, Failure};
use crate::limits::Limits;
use crate::loader::image::Bytes;
use crate::loader::library::Library;
use crate::plugin::thread::{HERE, Here, Number};

#[derive(Default)]
struct Loaded {
    limits: Limits,
}

impl Callee for Loaded {
    fn name(&self) -> &str {
        "loaded"
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn call_other(&self, plugin: &str, _: &str, _: &mut Context) -> Result<(), Failure> {
        panic!("it called `{plugin}`");
    }
}

#[test]
fn a_plugin_without_state_saves_nothing() {
    with(&["BUILD=1"], |code, here| {
        let loaded = Loaded::default();
        let call = Call {
            callee: &loaded,
            label: "",
        };
        assert_eq!(code.state_version(), None);
        let mut context = Context::new();
        assert_eq!(code.save(here, &mut context, &call), Some(status::OK));
        assert_eq!(context.len(), 0);
        let answer = code.restore(here, &mut context, &call);
        assert_eq!(answer, Some(status::OK));
    });
}

/// Half of a hand-over is none, and what there is still runs.
#[test]
fn a_plugin_that_only_saves_has_no_version() {
    with(&["BUILD=2", "STATE=3", "SAVE_ONLY"], |code, here| {
        let loaded = Loaded::default();
        let call = Call {
            callee: &loaded,
            label: "",
        };
        assert_eq!(code.state_version(), None);
        let mut context = Context::new();
        assert_eq!(code.save(here, &mut context, &call), Some(status::OK));
        assert_eq!(number(&context), Some(0));
    });
}

#[test]
fn what_one_build_saves_the_next_restores() {
    let loaded = Loaded::default();
    let call = |label| Call {
        callee: &loaded,
        label,
    };
    let mut state = Context::new();
    with(&["BUILD=3", "STATE=3"], |code, here| {
        assert_eq!(code.state_version(), Some(3));
        for _ in 0..2 {
            let answer = code.execute(here, &mut Context::new(), &call("count"), 1);
            assert_eq!(answer, Some(status::OK));
        }
        assert_eq!(code.save(here, &mut state, &call("")), Some(status::OK));
        assert_eq!(number(&state), Some(2));
    });
    with(&["BUILD=4", "STATE=4"], |code, here| {
        for (version, answer) in [("5", status::FAILED), ("3", status::OK)] {
            let answered = code.restore(here, &mut state, &call(version));
            assert_eq!(answered, Some(answer), "{version}");
        }
        let mut context = Context::new();
        code.execute(here, &mut context, &call("count"), 1);
        assert_eq!(number(&context), Some(3));
    });
    let failure = state.take_failure().expect("version 5 was refused");
    assert_eq!(failure.code, "fixture.state");
}

fn number(context: &Context) -> Option<i64> {
    context.get("count")?.as_i64()
}

/// Maps `loaded.c` with these macros, and lets it go afterwards.
fn with(defines: &[&str], act: impl FnOnce(&Transport, &Here)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = format!("plg-transport-{}-{}.so", process::id(), defines.join("-"));
    let path = env::temp_dir().join(name);
    let status = Command::new("cc")
        .args(["-std=gnu11", "-shared", "-fPIC", "-I"])
        .arg(root.join("plugin-api/include"))
        .args(defines.iter().map(|define| format!("-D{define}")))
        .arg(root.join("tests/fixtures/c/loaded.c"))
        .arg("-o")
        .arg(&path)
        .status()
        .expect("a C compiler named `cc` is installed");
    assert!(status.success(), "{defines:?} does not compile");
    let bytes = Bytes::read(&path, u64::MAX);
    fs::remove_file(&path).expect("the library was written");
    let image = bytes.and_then(|bytes| bytes.seal(None));
    let library = image.and_then(Library::open).expect("it can be mapped");
    let code = Transport::InProcess(InProcess::new(library, true));
    let loaded = Loaded::default();
    let call = Call {
        callee: &loaded,
        label: "",
    };
    HERE.with(|here| {
        Number::of(here);
        act(&code, here);
        let patience = Duration::from_secs(10);
        code.retire(here, &call, patience).expect("it can go");
    });
}
