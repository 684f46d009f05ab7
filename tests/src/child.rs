//! Tests that crash, count what the process holds, or must not be disturbed run in a process of their
//! own: the test binary again, with the one test.

use std::env;
use std::io::Read;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Names the test that this process is for.
const VARIABLE: &str = "PLG_TEST_CHILD";
/// Names the run that this process belongs to.
const RUN: &str = "PLG_TEST_RUN";

/// How a child ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// The status.
    pub status: ExitStatus,
    /// Standard output and error.
    pub output: String,
}

/// Runs `body` in a child and returns how that ended; in the child it does not return.
///
/// `test` is `concat!(module_path!(), "::", name)`.
///
/// # Panics
///
/// When the child cannot be run, or does not end within two minutes.
pub fn run(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Ended {
    run_within(Duration::from_secs(120), test, variables, body)
}

/// Like [`run`], for a body that may take longer.
///
/// # Panics
///
/// When the child cannot be run, or does not end within `limit`.
pub fn run_within(
    limit: Duration,
    test: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
) -> Ended {
    let (_, path) = test.split_once("::").expect("a test stands in a module");
    if env::var(VARIABLE).as_deref() == Ok(path) {
        body();
        process::exit(0);
    }
    let program = env::current_exe().expect("a test binary has a path");
    let mut child = Command::new(program)
        .args([path, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, path)
        .env(RUN, run_id())
        .env("RUST_BACKTRACE", "0")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = thread::spawn(move || text(out));
    let err = thread::spawn(move || text(err));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().expect("a child can be killed");
            panic!("the child for {path} did not end");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let output = out.join().unwrap_or_default() + &err.join().unwrap_or_default();
    Ended { status, output }
}

/// Names this run of the tests: the same in all processes of it, and another in the next run.
pub(crate) fn run_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        // nextest has a process for each test, and a name for all of them.
        let given = env::var(RUN).or_else(|_| env::var("NEXTEST_RUN_ID"));
        given.unwrap_or_else(|_| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            format!("{}-{}", process::id(), now.map_or(0, |now| now.as_nanos()))
        })
    })
}

fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Defines a test that runs in a process of its own and must succeed there.
#[macro_export]
macro_rules! isolated {
    ($(#[$meta:meta])* fn $name:ident() $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            let test = concat!(module_path!(), "::", stringify!($name));
            let ended = $crate::child::run(test, &[], || $body);
            assert!(ended.status.success(), "{}\n{}", ended.status, ended.output);
        }
    };
}
