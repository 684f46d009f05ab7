//! What the format says of any file, and what children leave that die in every way.
#![expect(unsafe_code, reason = "children crash, fork and install handlers")]

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::fs;
use std::hint::black_box;
use std::mem::offset_of;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use plg_packaging::{Digest, PluginName};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use semver::Version;
use tempfile::{TempDir, tempdir};

use super::builds::BuildId;
use super::format::{BUILDS, Entry, LABELS, SLOTS, Words};
use super::format::{Crumb, Slot};
use super::report::{Unreadable, parse};
use super::{Build, Culprit, Death, Doing, Ending, LastWords, collect};
use crate::plugin::thread::{HERE, Number};

/// A host with two builds on record.
struct Recorded {
    words: Arc<LastWords>,
    greeter: BuildId,
    counter: BuildId,
}

fn recorded(directory: &Path) -> Recorded {
    let words = Arc::new(LastWords::create(directory).unwrap());
    let greeter = register(&words, "greeter", 3);
    greeter.set_label(1, "greet");
    greeter.set_label(2, "part");
    let counter = register(&words, "counter", 1);
    counter.set_label(1, "count");
    Recorded {
        words,
        greeter,
        counter,
    }
}

fn register(words: &Arc<LastWords>, name: &str, generation: u64) -> BuildId {
    words.register(&Build {
        name: &PluginName::new(name).unwrap(),
        version: &Version::new(1, 2, generation),
        digest: Digest::of(name.as_bytes()),
        generation,
    })
}

/// What `register` puts on record.
fn culprit(name: &str, generation: u64, label: Option<&str>, doing: Doing) -> Culprit {
    Culprit {
        plugin: PluginName::new(name).unwrap(),
        version: Version::new(1, 2, generation),
        digest: Digest::of(name.as_bytes()),
        generation,
        label: label.map(str::to_owned),
        doing,
    }
}

impl Recorded {
    fn enter(&self, crumb: Crumb) -> Crumb {
        enter(&self.words, crumb)
    }

    fn greet(&self) -> Crumb {
        self.greeter.crumb(1, Doing::Call)
    }

    fn count(&self) -> Crumb {
        self.counter.crumb(1, Doing::Call)
    }
}

fn enter(words: &LastWords, crumb: Crumb) -> Crumb {
    slot(words).enter(crumb)
}

fn slot(words: &LastWords) -> &Slot {
    words.slot(HERE.with(Number::of)).unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The bytes of the only file.
fn bytes(directory: &Path) -> Vec<u8> {
    let files = files(directory);
    assert_eq!(files.len(), 1);
    fs::read(&files[0]).unwrap()
}

/// What the only file would say if its host died now.
fn if_it_died(directory: &Path) -> Death {
    death(&bytes(directory))
}

fn death(bytes: &[u8]) -> Death {
    let death = parse(bytes, SystemTime::now());
    death.unwrap().expect("no clean end is noted")
}

// Children.

/// Names the directory of a child.
const DIRECTORY: &str = "PLG_TEST_LAST_WORDS";

/// How a child ended, and what it left.
struct Ended {
    status: ExitStatus,
    output: String,
    deaths: Vec<Death>,
    directory: TempDir,
}

/// Runs `body` in a child, which is this test again, and reads what that leaves. In the child it does not
/// return.
fn child(test: &str, body: impl FnOnce(&Path)) -> Ended {
    let (_, path) = test.split_once("::").unwrap();
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // SAFETY: it ends a child that hangs.
        unsafe { libc::alarm(60) };
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none).unwrap();
        body(Path::new(&directory));
        process::exit(0);
    }
    let directory = tempdir().unwrap();
    let started = SystemTime::now() - Duration::from_secs(2);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([path, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory.path())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let deaths = collect(directory.path());
    for death in &deaths {
        assert!(death.at >= started && death.at <= SystemTime::now());
    }
    let output_text = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status,
        output: String::from_utf8_lossy(&output_text).into_owned(),
        deaths,
        directory,
    }
}

impl Ended {
    /// The only death, of a child that ended by `signal`.
    fn died_of(&self, signal: c_int) -> &Death {
        let by = self.status.signal();
        assert_eq!(by, Some(signal), "{}\n{}", self.status, self.output);
        self.only_death()
    }

    fn only_death(&self) -> &Death {
        assert_eq!(self.deaths.len(), 1, "{:?}\n{}", self.deaths, self.output);
        assert!(files(self.directory.path()).is_empty());
        &self.deaths[0]
    }
}

/// Expects one death with this ending and culprit, and no suspects.
fn assert_blamed(death: &Death, ending: Ending, culprit: &Culprit) {
    assert_eq!(death.ending, ending);
    assert_eq!(death.culprit.as_ref(), Some(culprit));
    assert_eq!(death.suspects, []);
    assert_ne!(death.pid, 0);
    assert_ne!(death.pid, process::id());
}

/// The path of a test, for [`child`].
macro_rules! here {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}

/// Defines a test whose child calls `greet`, in which it dies, and ends by this signal.
macro_rules! dies_of {
    ($($(#[$meta:meta])* $name:ident: $die:expr => $recorded:ident, $ends:ident;)*) => {
        $($(#[$meta])*
        #[test]
        fn $name() {
            let ended = child(here!($name), |directory| {
                let recorded = recorded(directory);
                recorded.enter(recorded.greet());
                $die;
            });
            let blamed = culprit("greeter", 3, Some("greet"), Doing::Call);
            let death = ended.died_of(libc::$ends);
            assert_blamed(death, Ending::Signal(libc::$recorded), &blamed);
            let overflowed = ended.output.contains("has overflowed its stack");
            assert_eq!(overflowed, libc::$recorded != libc::$ends, "{}", ended.output);
        })*
    };
}

dies_of! {
    a_segmentation_fault_names_the_plugin: segv() => SIGSEGV, SIGSEGV;
    an_abort_names_the_plugin: process::abort() => SIGABRT, SIGABRT;
    an_illegal_instruction_names_the_plugin: ill() => SIGILL, SIGILL;
    /// Rust's own handler still says what it was, and aborts.
    a_stack_overflow_names_the_plugin: overflow() => SIGSEGV, SIGABRT;
}

#[cfg(target_arch = "x86_64")]
dies_of! {
    a_division_by_zero_names_the_plugin: fpe() => SIGFPE, SIGFPE;
    a_trap_names_the_plugin: trap() => SIGTRAP, SIGTRAP;
}

fn segv() {
    let nowhere = black_box(8_usize) as *const u32;
    // SAFETY: there is none, and this process is to end here.
    black_box(unsafe { nowhere.read_volatile() });
}

#[cfg(target_arch = "x86_64")]
fn ill() {
    // SAFETY: it ends this process, or a handler skips it.
    unsafe { asm!("ud2") };
}

#[cfg(not(target_arch = "x86_64"))]
fn ill() {
    // SAFETY: it ends this process.
    unsafe { asm!("udf #0") };
}

#[cfg(target_arch = "x86_64")]
fn fpe() {
    // SAFETY: it ends this process.
    unsafe { asm!("xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _) };
}

#[cfg(target_arch = "x86_64")]
fn trap() {
    // SAFETY: it ends this process.
    unsafe { asm!("int3") };
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn overflow() {
    let frame = black_box([0_u8; 4096]);
    overflow();
    black_box(frame);
}

#[test]
fn a_page_that_is_gone_names_the_plugin() {
    let ended = child(here!(a_page_that_is_gone_names_the_plugin), |directory| {
        let recorded = recorded(directory);
        let other = LastWords::create(directory).unwrap();
        let shrunk = files(directory).into_iter().max().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&shrunk).unwrap();
        fs::remove_file(shrunk).unwrap();
        recorded.enter(recorded.greet());
        // Its pages are the handler's as well, which then dies while it looks at them.
        file.set_len(0).unwrap();
        other
            .slot(Number::assume(0))
            .unwrap()
            .enter(Crumb::default());
    });
    let blamed = culprit("greeter", 3, Some("greet"), Doing::Call);
    let death = ended.died_of(libc::SIGBUS);
    assert_blamed(death, Ending::Signal(libc::SIGBUS), &blamed);
}

#[test]
fn threads_of_the_host_are_told_apart() {
    let ended = child(here!(threads_of_the_host_are_told_apart), |directory| {
        let recorded = recorded(directory);
        recorded.enter(recorded.count());
        thread::scope(|scope| {
            scope.spawn(|| {
                recorded.enter(recorded.greeter.crumb(2, Doing::Call));
                overflow();
            });
        });
    });
    let death = ended.died_of(libc::SIGABRT);
    assert_eq!(death.ending, Ending::Signal(libc::SIGSEGV));
    let guilty = culprit("greeter", 3, Some("part"), Doing::Call);
    assert_eq!(death.culprit, Some(guilty));
    let other = culprit("counter", 1, Some("count"), Doing::Call);
    assert_eq!(death.suspects, [other]);
}

#[test]
fn an_exit_inside_a_plugin_is_no_exit_of_the_app() {
    let test = here!(an_exit_inside_a_plugin_is_no_exit_of_the_app);
    let ended = child(test, |directory| {
        let recorded = recorded(directory);
        recorded.enter(recorded.greeter.crumb(0, Doing::Init));
        process::exit(0);
    });
    assert_eq!(ended.status.code(), Some(70), "{}", ended.output);
    let blamed = culprit("greeter", 3, None, Doing::Init);
    assert_blamed(ended.only_death(), Ending::Exit, &blamed);
}

/// Neither the host nor the app takes care that anything is dropped.
#[test]
fn an_exit_of_the_app_leaves_nothing_to_tell() {
    let test = here!(an_exit_of_the_app_leaves_nothing_to_tell);
    let ended = child(test, |directory| {
        let recorded = recorded(directory);
        let inside = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                recorded.enter(recorded.greet());
                inside.wait();
                thread::park();
            });
            inside.wait();
            let before = recorded.enter(recorded.greet());
            slot(&recorded.words).leave(before);
            process::exit(3);
        });
    });
    assert_eq!(ended.status.code(), Some(3), "{}", ended.output);
    assert_eq!(ended.deaths, []);
    assert!(files(ended.directory.path()).is_empty());
}

#[test]
fn a_kill_makes_suspects_and_no_culprit() {
    let ended = child(here!(a_kill_makes_suspects_and_no_culprit), |directory| {
        let recorded = recorded(directory);
        recorded.enter(recorded.greet());
        let inside = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    recorded.enter(recorded.count());
                    inside.wait();
                    thread::park();
                });
            }
            inside.wait();
            kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
        });
    });
    let death = ended.died_of(libc::SIGKILL);
    assert_eq!(death.ending, Ending::Unknown);
    assert_eq!(death.culprit, None);
    let suspects = [
        culprit("greeter", 3, Some("greet"), Doing::Call),
        culprit("counter", 1, Some("count"), Doing::Call),
    ];
    assert_eq!(death.suspects, suspects);
}

/// A watchdog that gives up on the process, for instance. The signal goes to whichever thread.
#[test]
fn a_signal_from_outside_makes_no_culprit() {
    let ended = child(here!(a_signal_from_outside_makes_no_culprit), |directory| {
        let recorded = recorded(directory);
        recorded.enter(recorded.greet());
        let _ = sent_by_a_child(libc::SIGABRT);
        loop {
            thread::park();
        }
    });
    let death = ended.died_of(libc::SIGABRT);
    assert_eq!(death.ending, Ending::Signal(libc::SIGABRT));
    assert_eq!(death.culprit, None);
    let suspect = culprit("greeter", 3, Some("greet"), Doing::Call);
    assert_eq!(death.suspects, [suspect]);
}

/// Rust's handler takes one for a fault that will come again.
#[test]
fn a_signal_that_ends_nothing_is_no_death() {
    let ended = child(here!(a_signal_that_ends_nothing_is_no_death), |directory| {
        let recorded = recorded(directory);
        let before = recorded.enter(recorded.greet());
        wait_for(sent_by_a_child(libc::SIGSEGV));
        slot(&recorded.words).leave(before);
        recorded.enter(recorded.count());
        process::abort();
    });
    let blamed = culprit("counter", 1, Some("count"), Doing::Call);
    let death = ended.died_of(libc::SIGABRT);
    assert_blamed(death, Ending::Signal(libc::SIGABRT), &blamed);
}

/// Lets a child send a signal to this thread.
fn sent_by_a_child(signal: c_int) -> Pid {
    let process = process::id();
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let child = Fork::Usual.fork();
    Pid::from_raw(child).unwrap_or_else(|| {
        // SAFETY: it takes nothing but numbers.
        let failed = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
        // SAFETY: it ends the child.
        unsafe { libc::_exit(i32::from(failed != 0)) }
    })
}

fn wait_for(child: Pid) -> rustix::process::WaitStatus {
    let options = rustix::process::WaitOptions::empty();
    let waited = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), options));
    waited.unwrap().unwrap().1
}

#[test]
fn a_crash_of_the_app_makes_no_culprit() {
    let ended = child(here!(a_crash_of_the_app_makes_no_culprit), |directory| {
        let recorded = recorded(directory);
        let before = recorded.enter(recorded.greet());
        slot(&recorded.words).leave(before);
        segv();
    });
    let death = ended.died_of(libc::SIGSEGV);
    assert_eq!(death.ending, Ending::Signal(libc::SIGSEGV));
    assert_eq!((&death.culprit, death.suspects.len()), (&None, 0));
}

/// A thread of a plugin has no number, and the build is known by where the thread was.
#[test]
fn a_thread_of_a_plugin_is_known_by_its_code() {
    let test = here!(a_thread_of_a_plugin_is_known_by_its_code);
    let ended = child(test, |directory| {
        let recorded = recorded(directory);
        let code = ill as fn() as usize;
        recorded.counter.set_mapped(&(code..code + 4096));
        recorded.greeter.set_mapped(&(code + 4096..code + 8192));
        recorded.enter(recorded.greet());
        thread::spawn(black_box(ill as fn())).join().unwrap();
    });
    let death = ended.died_of(libc::SIGILL);
    let guilty = culprit("counter", 1, None, Doing::Thread);
    assert_eq!(death.culprit, Some(guilty));
    let suspect = culprit("greeter", 3, Some("greet"), Doing::Call);
    assert_eq!(death.suspects, [suspect]);
}

/// Code that has no name was inside, called by code that has one.
#[test]
fn a_build_without_a_name_shields_its_caller() {
    let test = here!(a_build_without_a_name_shields_its_caller);
    let ended = child(test, |directory| {
        let recorded = recorded(directory);
        let more: Vec<_> = (0..BUILDS)
            .map(|number| register(&recorded.words, "more", number as u64))
            .collect();
        recorded.enter(recorded.greet());
        let last = more.last().unwrap();
        last.set_label(1, "lost");
        recorded.enter(last.crumb(1, Doing::Call));
        segv();
    });
    let death = ended.died_of(libc::SIGSEGV);
    assert_eq!((&death.culprit, death.suspects.len()), (&None, 0));
}

#[test]
fn two_hosts_of_a_process_leave_a_file_each() {
    let test = here!(two_hosts_of_a_process_leave_a_file_each);
    let ended = child(test, |directory| {
        let [gone, quiet, dying] = [(); 3].map(|()| recorded(directory));
        dying.enter(dying.count());
        gone.enter(gone.greet());
        drop(gone);
        black_box(&quiet);
        process::abort();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
    assert_eq!(ended.deaths.len(), 2, "{:?}", ended.deaths);
    let ending = Ending::Signal(libc::SIGABRT);
    assert!(ended.deaths.iter().all(|death| death.ending == ending));
    let guilty: Vec<_> = ended
        .deaths
        .iter()
        .flat_map(|death| &death.culprit)
        .collect();
    let blamed = culprit("counter", 1, Some("count"), Doing::Call);
    assert_eq!(guilty, [&blamed]);
}

/// A copy of the process inherits the file, the lock and the handlers.
#[test]
fn a_copy_of_the_process_leaves_its_file_alone() {
    let test = here!(a_copy_of_the_process_leaves_its_file_alone);
    let ended = child(test, |directory| {
        let recorded = recorded(directory);
        recorded.enter(recorded.greet());
        let copies: [(Fork, fn(Recorded)); 6] = [
            (Fork::Usual, |recorded| {
                recorded.enter(recorded.count());
                ill();
            }),
            (Fork::Usual, |recorded| {
                recorded.enter(Crumb::default());
                process::exit(0);
            }),
            (Fork::Usual, |recorded| {
                recorded.enter(recorded.count());
                process::exit(0);
            }),
            (Fork::Usual, |recorded| {
                drop(recorded);
                process::exit(0);
            }),
            (Fork::Raw, |_| ill()),
            (Fork::Raw, |recorded| {
                drop(recorded);
                process::exit(0);
            }),
        ];
        let mut recorded = Some(recorded);
        for (fork, copy) in copies {
            let child = fork.fork();
            let Some(child) = Pid::from_raw(child) else {
                copy(recorded.take().unwrap());
                unreachable!("a copy ends");
            };
            let status = wait_for(child);
            let signal = status.terminating_signal();
            assert!(signal == Some(libc::SIGILL) || status.exit_status() == Some(0));
            let death = if_it_died(directory);
            let suspect = culprit("greeter", 3, Some("greet"), Doing::Call);
            assert_eq!(
                (death.ending, death.suspects),
                (Ending::Unknown, vec![suspect])
            );
        }
        process::abort();
    });
    let blamed = culprit("greeter", 3, Some("greet"), Doing::Call);
    let death = ended.died_of(libc::SIGABRT);
    assert_blamed(death, Ending::Signal(libc::SIGABRT), &blamed);
}

/// What a plugin starts may outlive the host, and must not keep its last words back.
#[test]
fn a_copy_that_lives_longer_does_not_hold_the_file() {
    let test = here!(a_copy_that_lives_longer_does_not_hold_the_file);
    let ended = child(test, |directory| {
        let recorded = recorded(directory);
        recorded.enter(recorded.greet());
        if Fork::Usual.fork() == 0 {
            recorded.enter(recorded.count());
            for descriptor in 0..3 {
                // SAFETY: nothing is written any more, and the test reads until they are closed.
                unsafe { libc::close(descriptor) };
            }
            let start = Instant::now();
            while directory.exists() && start.elapsed() < Duration::from_secs(60) {
                thread::sleep(Duration::from_millis(10));
            }
            process::exit(0);
        }
        process::abort();
    });
    let blamed = culprit("greeter", 3, Some("greet"), Doing::Call);
    let death = ended.died_of(libc::SIGABRT);
    assert_blamed(death, Ending::Signal(libc::SIGABRT), &blamed);
}

/// How a copy of the process is made.
#[derive(Clone, Copy)]
enum Fork {
    Usual,
    /// Behind the back of libc.
    Raw,
}

impl Fork {
    fn fork(self) -> c_int {
        match self {
            // SAFETY: no other thread of this process holds anything that the child needs.
            Self::Usual => unsafe { libc::fork() },
            Self::Raw => {
                // SAFETY: as above.
                let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
                c_int::try_from(child).unwrap()
            }
        }
    }
}

/// Handlers that were there first.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_fault_that_the_app_puts_right_is_no_death() {
    /// Skips the instruction.
    unsafe extern "C" fn skip(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the kernel passes a whole one.
        let registers = unsafe { &mut (*context).uc_mcontext.gregs };
        registers[libc::REG_RIP as usize] += 2;
    }
    let ended = child(
        here!(a_fault_that_the_app_puts_right_is_no_death),
        |directory| {
            handle(libc::SIGILL, skip as *const () as usize, libc::SA_SIGINFO);
            let recorded = recorded(directory);
            let before = recorded.enter(recorded.greet());
            ill();
            ill();
            slot(&recorded.words).leave(before);
            recorded.enter(recorded.count());
            process::abort();
        },
    );
    let blamed = culprit("counter", 1, Some("count"), Doing::Call);
    let death = ended.died_of(libc::SIGABRT);
    assert_blamed(death, Ending::Signal(libc::SIGABRT), &blamed);
}

#[test]
fn a_handler_of_the_app_gets_the_signal_as_before() {
    unsafe extern "C" fn say(signal: c_int) {
        // SAFETY: it ends the process.
        unsafe { libc::_exit(signal + 100) };
    }
    let test = here!(a_handler_of_the_app_gets_the_signal_as_before);
    let ended = child(test, |directory| {
        handle(libc::SIGSEGV, say as *const () as usize, 0);
        let recorded = recorded(directory);
        recorded.enter(recorded.greet());
        segv();
    });
    assert_eq!(ended.status.code(), Some(libc::SIGSEGV + 100));
    let blamed = culprit("greeter", 3, Some("greet"), Doing::Call);
    let ending = Ending::Signal(libc::SIGSEGV);
    assert_blamed(ended.only_death(), ending, &blamed);
}

#[test]
fn a_signal_that_the_app_ignores_stays_ignored() {
    let test = here!(a_signal_that_the_app_ignores_stays_ignored);
    let ended = child(test, |directory| {
        handle(libc::SIGTRAP, libc::SIG_IGN, 0);
        let recorded = recorded(directory);
        recorded.enter(recorded.greet());
        kill_process(rustix::process::getpid(), Signal::TRAP).unwrap();
        assert_eq!(if_it_died(directory).ending, Ending::Unknown);
        drop(recorded);
    });
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

fn handle(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: zeroes are a whole one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler has the form that the flags say.
    let failed = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    assert_eq!(failed, 0);
}

#[test]
fn a_file_that_gets_no_room_is_an_error_and_not_left() {
    let test = here!(a_file_that_gets_no_room_is_an_error_and_not_left);
    let ended = child(test, |directory| {
        handle(libc::SIGXFSZ, libc::SIG_IGN, 0);
        let small = Rlimit {
            current: Some(1 << 16),
            maximum: Some(1 << 16),
        };
        setrlimit(Resource::Fsize, small).unwrap();
        let error = LastWords::create(directory).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
        assert!(files(directory).is_empty());
    });
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

// The file of a host that lives.

#[test]
fn a_clean_end_leaves_nothing() {
    let directory = tempdir().unwrap();
    let recorded = recorded(directory.path());
    let file = files(directory.path()).remove(0);
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let room = metadata.blocks() * 512;
    assert!(room >= size_of::<Words>() as u64, "{room}");
    assert_eq!(collect(directory.path()), []);
    assert!(file.exists(), "a living host keeps its file");
    // A build that is never unmapped does not keep it.
    let Recorded { words, greeter, .. } = recorded;
    drop(words);
    assert!(!file.exists());
    greeter.set_label(2, "late");
}

#[test]
fn crumbs_nest() {
    let directory = tempdir().unwrap();
    let recorded = recorded(directory.path());
    let slot = slot(&recorded.words);
    let inside = || if_it_died(directory.path()).suspects;
    let outer = slot.enter(recorded.greeter.crumb(0, Doing::Stop));
    let inner = slot.enter(recorded.count());
    assert_eq!(
        inside(),
        [culprit("counter", 1, Some("count"), Doing::Call)]
    );
    slot.leave(inner);
    assert_eq!(inside(), [culprit("greeter", 3, None, Doing::Stop)]);
    slot.leave(outer);
    assert_eq!(inside(), []);
}

#[test]
fn threads_and_labels_beyond_the_file_are_not_recorded() {
    let directory = tempdir().unwrap();
    let recorded = recorded(directory.path());
    assert!(recorded.words.slot(Number::assume(SLOTS - 1)).is_some());
    assert!(recorded.words.slot(Number::assume(SLOTS)).is_none());
    assert!(
        recorded
            .words
            .slot(Number::assume(usize::MAX - 1))
            .is_none()
    );

    let long = "l".repeat(100);
    recorded.greeter.set_label(0, "none");
    recorded.greeter.set_label(LABELS, &long);
    recorded.greeter.set_label(LABELS + 1, "beyond");
    let label = |place| {
        recorded.enter(recorded.greeter.crumb(place, Doing::Call));
        let mut suspects = if_it_died(directory.path()).suspects;
        assert_eq!(suspects.len(), 1);
        suspects.remove(0).label
    };
    assert_eq!(label(0), None);
    assert_eq!(label(2).as_deref(), Some("part"));
    assert_eq!(label(3), None);
    assert_eq!(label(LABELS).as_deref(), Some(&long[..64]));
    for beyond in [LABELS + 1, 1024, 1 << 16, usize::MAX] {
        assert_eq!(label(beyond), None);
    }
}

#[test]
fn a_long_version_is_shortened_to_one() {
    let directory = tempdir().unwrap();
    let words = Arc::new(LastWords::create(directory.path()).unwrap());
    let long = format!("1.2.3-{}", "a.".repeat(40) + "b");
    for (text, recorded) in [("1.2.3-rc.1+7", "1.2.3-rc.1+7"), (&long, "1.2.3")] {
        let build = words.register(&Build {
            name: &PluginName::new(&"n".repeat(64)).unwrap(),
            version: &Version::parse(text).unwrap(),
            digest: Digest::of(b"long"),
            generation: u64::MAX,
        });
        enter(&words, build.crumb(0, Doing::Call));
        let suspect = if_it_died(directory.path()).suspects.remove(0);
        assert_eq!(suspect.version.to_string(), recorded);
        assert_eq!(suspect.plugin.as_str().len(), 64);
        assert_eq!(suspect.generation, u64::MAX);
    }
}

#[test]
fn the_entry_of_a_build_that_is_gone_blames_nobody() {
    let directory = tempdir().unwrap();
    let words = Arc::new(LastWords::create(directory.path()).unwrap());
    let first = register(&words, "first", 1);
    first.set_label(1, "old");
    let stale = first.crumb(1, Doing::Call);
    enter(&words, stale);
    assert_eq!(if_it_died(directory.path()).suspects.len(), 1);
    drop(first);
    assert_eq!(if_it_died(directory.path()).suspects, []);
    let second = register(&words, "second", 2);
    assert_eq!(second.crumb(1, Doing::Call).entry(), stale.entry());
    assert_eq!(if_it_died(directory.path()).suspects, []);
    // Its labels are its own.
    enter(&words, second.crumb(1, Doing::Call));
    let suspect = culprit("second", 2, None, Doing::Call);
    assert_eq!(if_it_died(directory.path()).suspects, [suspect]);
}

#[test]
fn entries_are_used_again_and_again() {
    let directory = tempdir().unwrap();
    let words = Arc::new(LastWords::create(directory.path()).unwrap());
    for round in 0..3 {
        let builds: Vec<_> = (0..BUILDS)
            .map(|number| register(&words, "many", number as u64))
            .collect();
        for build in builds.iter().step_by(BUILDS / 8) {
            enter(&words, build.crumb(0, Doing::Call));
            assert_eq!(if_it_died(directory.path()).suspects.len(), 1, "{round}");
        }
    }
}

#[test]
fn an_entry_that_was_being_written_is_none() {
    let directory = tempdir().unwrap();
    let recorded = recorded(directory.path());
    recorded.enter(recorded.greet());
    let mut bytes = bytes(directory.path());
    let label = culprit("greeter", 3, Some("greet"), Doing::Call);
    assert_eq!(death(&bytes).suspects, [label]);
    let entry = offset_of!(Words, builds) + recorded.greet().entry() * size_of::<Entry>();
    let mut clear = |at: usize| bytes[entry + at..][..8].fill(0);
    // The last words that are written of a label and of an entry.
    clear(offset_of!(Entry, labels));
    let whole = death(&bytes).suspects;
    assert_eq!(whole, [culprit("greeter", 3, None, Doing::Call)]);
    bytes[entry + offset_of!(Entry, state)..][..8].fill(0);
    assert_eq!(death(&bytes).suspects, []);
}

#[test]
fn a_file_is_never_collected_while_it_is_made() {
    /// Ends the other thread, however this one ends.
    struct Done<'done>(&'done AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let directory = tempdir().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(collect(directory.path()), []);
            }
        });
        let _done = Done(&done);
        for _ in 0..200 {
            let words = Arc::new(LastWords::create(directory.path()).unwrap());
            let build = register(&words, "held", 1);
            enter(&words, build.crumb(0, Doing::Call));
            // One that the other thread took for a dead host's may still be there.
            let files = files(directory.path()).into_iter();
            let whole = files.filter_map(|file| fs::read(file).ok());
            let told = whole.filter_map(|bytes| parse(&bytes, SystemTime::now()).unwrap());
            let suspects: Vec<_> = told.flat_map(|death| death.suspects).collect();
            assert_eq!(suspects, [culprit("held", 1, None, Doing::Call)]);
        }
    });
}

#[test]
fn too_many_hosts_are_an_error_and_leave_nothing() {
    let ended = child(
        here!(too_many_hosts_are_an_error_and_leave_nothing),
        |directory| {
            let mut many: Vec<_> = (0..64)
                .map(|_| LastWords::create(directory).unwrap())
                .collect();
            let error = LastWords::create(directory).unwrap_err();
            assert!(error.to_string().starts_with("64 hosts"), "{error}");
            assert_eq!(files(directory).len(), 64);
            many.pop();
            LastWords::create(directory).unwrap();
        },
    );
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

// Any file.

/// A file of a host that died of a signal inside `greet`.
fn dead() -> Vec<u8> {
    let directory = tempdir().unwrap();
    let recorded = recorded(directory.path());
    recorded.greeter.set_mapped(&(0x1000..0x2000));
    recorded.enter(recorded.greet());
    let mut bytes = bytes(directory.path());
    put(&mut bytes, offset_of!(Words, header.mark.ending), 11);
    put(
        &mut bytes,
        offset_of!(Words, header.mark.thread),
        HERE.with(Number::of).get() as u64 + 1,
    );
    put(
        &mut bytes,
        offset_of!(Words, header.mark.crumb),
        recorded.greet().word(),
    );
    put(
        &mut bytes,
        offset_of!(Words, header.mark.instruction),
        0x1fff,
    );
    put(
        &mut bytes,
        offset_of!(Words, header.mark.time),
        1_700_000_000,
    );
    bytes
}

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..][..8].copy_from_slice(&word.to_ne_bytes());
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let mut bytes = dead();
    let told = death(&bytes);
    assert_eq!(told.pid, process::id());
    assert_eq!(told.ending, Ending::Signal(11));
    let time = Duration::from_secs(1_700_000_000);
    assert_eq!(told.at, SystemTime::UNIX_EPOCH + time);
    let called = culprit("greeter", 3, Some("greet"), Doing::Call);
    assert_eq!(told.culprit, Some(called.clone()));
    assert_eq!(told.suspects, []);
    assert_eq!(told.ending.to_string(), "SIGSEGV");
    let digest = Digest::of(b"greeter");
    assert_eq!(
        called.to_string(),
        format!("`greeter` 1.2.3, generation 3, {digest}, in `call` of `greet`")
    );

    // Without a crumb the instruction tells, if it lies in the image.
    put(&mut bytes, offset_of!(Words, header.mark.crumb), 0);
    let threaded = culprit("greeter", 3, None, Doing::Thread);
    assert_eq!(death(&bytes).culprit, Some(threaded));
    for outside in [0, 0xfff, 0x2000] {
        put(
            &mut bytes,
            offset_of!(Words, header.mark.instruction),
            outside,
        );
        assert_eq!(death(&bytes).culprit, None);
    }

    // What is no ending is none, and then nothing else of the mark counts.
    let mut bytes = dead();
    for nonsense in [65, u64::MAX] {
        put(&mut bytes, offset_of!(Words, header.mark.ending), nonsense);
        let told = death(&bytes);
        assert_eq!((told.ending, told.culprit), (Ending::Unknown, None));
        assert_eq!(told.suspects, std::slice::from_ref(&called));
        assert!(told.at > SystemTime::UNIX_EPOCH + time);
    }
}

#[test]
fn a_file_cut_off_anywhere_says_nothing() {
    let bytes = dead();
    let now = SystemTime::now();
    for length in 0..bytes.len() {
        let said = parse(&bytes[..length], now);
        let expected = match length {
            0 => matches!(said, Ok(None)),
            1..8 => matches!(said, Err(Unreadable::Foreign)),
            8..16 => matches!(said, Err(Unreadable::Version { found: 0 })),
            _ => matches!(said, Err(Unreadable::Length { .. })),
        };
        assert!(expected, "{length}: {said:?}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        parse(&longer, now),
        Err(Unreadable::Length { .. })
    ));
}

#[test]
fn other_files_say_nothing() {
    let now = SystemTime::now();
    let length = size_of::<Words>();
    assert!(matches!(parse(&vec![0; length], now), Ok(None)));
    for foreign in [vec![0; length - 1], vec![0xff; length], b"{}".to_vec()] {
        assert!(matches!(parse(&foreign, now), Err(Unreadable::Foreign)));
    }
    let mut bytes = dead();
    put(&mut bytes, offset_of!(Words, header.version), 2);
    assert!(matches!(
        parse(&bytes, now),
        Err(Unreadable::Version { found: 2 })
    ));
    let mut bytes = dead();
    put(&mut bytes, offset_of!(Words, header.length), 7);
    assert!(matches!(
        parse(&bytes, now),
        Err(Unreadable::Length { found: 7 })
    ));
    let mut bytes = dead();
    put(&mut bytes, offset_of!(Words, header.mark.ending), 0);
    put(&mut bytes, offset_of!(Words, header.left), 1);
    assert!(matches!(parse(&bytes, now), Ok(None)));
}

/// A plugin may have written anywhere before it crashed.
#[test]
fn garbage_is_read_without_harm() {
    let whole = dead();
    let now = SystemTime::now();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let entry = offset_of!(Words, builds);
    let slots = offset_of!(Words, slots);
    let (mut told, mut blamed) = (0, 0);
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..random() % 16 {
            // Mostly where something stands.
            let end = match random() % 4 {
                0 => bytes.len(),
                1 => entry + size_of::<Entry>(),
                2 => slots + 4 * size_of::<Slot>(),
                _ => offset_of!(Words, header) + 128,
            };
            let at = (random() as usize % (end - 8)).max(24);
            let word = random() >> (random() % 64);
            put(&mut bytes, at, word);
        }
        if let Ok(Some(death)) = parse(&bytes, now) {
            told += 1;
            blamed += usize::from(death.culprit.is_some());
        }
    }
    assert!(
        told > 200 && blamed > 20 && blamed < told,
        "{told} {blamed}"
    );
}

#[test]
fn collecting_passes_over_what_is_none() {
    let directory = tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    assert_eq!(collect(&place("missing")), []);
    let mut later = dead();
    put(&mut later, offset_of!(Words, header.version), 2);
    let mut earlier = dead();
    put(
        &mut earlier,
        offset_of!(Words, header.mark.time),
        1_600_000_000,
    );
    for (name, bytes) in [
        ("1-0.words", dead()),
        ("2-0.words", earlier),
        ("3-0.words", later),
        ("4-0.words", b"garbage".to_vec()),
        ("5-0.words", Vec::new()),
        ("notes.txt", b"mine".to_vec()),
    ] {
        fs::write(place(name), bytes).unwrap();
    }
    std::os::unix::fs::symlink(place("notes.txt"), place("link.words")).unwrap();
    fs::create_dir(place("directory.words")).unwrap();
    let fifo = Command::new("mkfifo").arg(place("fifo.words")).status();
    assert!(fifo.unwrap().success());

    let deaths = collect(directory.path());
    assert_eq!(deaths.len(), 2);
    assert!(deaths[0].at < deaths[1].at);
    let mut left = files(directory.path());
    left.sort();
    let kept = ["3-0.words", "directory.words", "link.words", "notes.txt"].map(place);
    assert_eq!(left, kept);
    assert_eq!(collect(directory.path()), []);
}
