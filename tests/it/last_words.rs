//! What a host that dies of a plugin tells the next one.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use plg_host::{Context, Doing, Ending, Event, Hook, HookOptions, Host, Step};
use plg_tests::child::{self, Ended};
use plg_tests::isolated;

use crate::support::plugins::{bad, digest, good, refused};
use crate::support::{Variant, library};

const STATE: &str = "PLG_TEST_STATE";
const LABEL: &str = "PLG_TEST_LABEL";

/// A host with this state directory.
fn host(state: &Path) -> Host {
    let host = Host::builder().state_dir(state).build();
    host.expect("a host can be made")
}

/// Calls `label` of `fixture-bad` in a child, which dies of it.
fn die(test: &str, state: &Path, label: &str) -> Ended {
    let state = state.to_str().expect("the directory has a plain name");
    child::run(test, &[(STATE, state), (LABEL, label)], || {
        let state = PathBuf::from(std::env::var_os(STATE).expect("the parent set it"));
        let label = std::env::var(LABEL).expect("the parent set it");
        let host = host(&state);
        let bad = bad(&host);
        let _ = bad.call(&label, &mut Context::new());
    })
}

/// Rows 79 and 80.
#[test]
fn the_next_start_names_the_build_that_ended_this_one() {
    let test = concat!(
        module_path!(),
        "::the_next_start_names_the_build_that_ended_this_one"
    );
    let parent = tempfile::tempdir().unwrap();
    let endings = [
        ("segv", Ending::Signal(libc::SIGSEGV)),
        ("abort", Ending::Signal(libc::SIGABRT)),
        ("panic.twice", Ending::Signal(libc::SIGABRT)),
        ("overflow", Ending::Signal(libc::SIGSEGV)),
        ("exit", Ending::Exit),
    ];
    for (label, ending) in endings {
        let state = parent.path().join(label);
        let ended = die(test, &state, label);
        match ending {
            Ending::Exit => assert_eq!(ended.status.code(), Some(70), "{}", ended.output),
            _ => assert!(ended.status.signal().is_some(), "{label}: {}", ended.output),
        }
        let host = host(&state);
        let [death] = host.deaths() else {
            panic!("{label}: {:?}", host.deaths());
        };
        assert_eq!(death.ending, ending, "{label}");
        let culprit = death.culprit.as_ref().expect(label);
        assert_eq!(culprit.plugin.as_str(), "fixture-bad");
        assert_eq!(culprit.label.as_deref(), Some(label));
        assert_eq!((culprit.generation, culprit.doing), (1, Doing::Call));
        let library = library("fixture-bad", Variant::Debug);
        assert_eq!(culprit.digest, digest(&library));
        // Just that build is refused, until somebody says otherwise.
        let message = refused(host.load(&library), "native.quarantined");
        assert!(message.contains(label), "{message}");
        good(&host);
        assert!(host.quarantine().remove(&culprit.digest));
        bad(&host).call("fine", &mut Context::new()).unwrap();
    }
}

/// Keeps the events that it is told.
struct Kept(Arc<Mutex<Vec<Event>>>);

impl Hook for Kept {
    fn after(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[test]
fn a_crash_is_told_once_to_hooks_from_the_beginning() {
    let test = concat!(
        module_path!(),
        "::a_crash_is_told_once_to_hooks_from_the_beginning"
    );
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("state");
    die(test, &state, "abort");
    for told in [1, 0] {
        let events = Arc::new(Mutex::new(Vec::new()));
        let builder = Host::builder().state_dir(&state);
        let builder = builder.hook(HookOptions::default(), Kept(events.clone()));
        let host = builder.build().unwrap();
        // Events come in order, so what was told before this one was told by now.
        host.load_all().unwrap();
        good(&host);
        plg_tests::wait_until("the load to be told", || {
            events
                .lock()
                .unwrap()
                .iter()
                .any(|event| event.step == Step::Load)
        });
        let events = events.lock().unwrap();
        let crashes: Vec<_> = events.iter().filter(|e| e.step == Step::Crash).collect();
        assert_eq!(crashes.len(), told);
        for crash in crashes {
            assert_eq!(crash.code, Some("plugin.crashed"));
            assert_eq!(crash.plugin.as_ref().unwrap().as_str(), "fixture-bad");
            assert_eq!(crash.label.as_deref(), Some("abort"));
        }
    }
}

isolated! {
    fn a_host_that_ends_well_leaves_no_words() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        {
            let host = host(&state);
            good(&host).call("build", &mut Context::new()).unwrap();
        }
        let host = host(&state);
        assert_eq!(host.deaths(), []);
        assert!(host.quarantine().is_empty());
    }
}
