//! Watched directories in which things go wrong: rows 45 to 51, with the controls that show what each
//! precaution is for.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Event, Faults, Step, WatchOptions};
use plg_tests::{child, isolated};
use rustix::fs::inotify::{self, CreateFlags};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::support::plugins::{digest, loaded, named, plugin_directory};
use crate::support::process::become_nobody;
use crate::support::{Variant, stamped_bytes, wait_until};
use crate::watch::{Watched, options, write_slowly};

/// A plugin whose library is copied so slowly that each part of it looks finished for a while.
fn copied_slowly(faults: Faults) {
    let builds = [1, 2].map(|number| stamped_bytes(Variant::Release, number));
    let mut watched = Watched::with(options(), |builder| builder.faults(faults));
    let plugin = watched.path("fixture-good");
    fs::create_dir(&plugin).unwrap();
    let manifest = r#"{"name":"fixture-good","version":"1.0.0"}"#;
    fs::write(plugin.join("plugin.json"), manifest).unwrap();
    let library = plugin.join("libfixture_good.so");
    // At first there is none, then it is written over itself while it answers.
    for bytes in &builds {
        write_slowly(&library, bytes, 24, options().settle * 4);
        watched.wait_for("fixture-good", &library);
        assert_eq!(watched.failures(), [""; 0]);
    }
}

isolated! {
    /// Row 45.
    fn a_library_that_is_copied_slowly_is_taken_when_it_is_whole() {
        copied_slowly(Faults::default());
    }
}

/// Row 45: each state of such a file could be loaded, so that only time tells.
#[test]
fn a_file_that_keeps_its_size_is_taken_when_it_rests() {
    let settle = Duration::from_secs(1);
    let watched = Watched::with(
        WatchOptions {
            settle,
            ..options()
        },
        |builder| builder,
    );
    let [from, to] = [1, 2].map(|build| fs::read(named("loaded", build)).unwrap());
    assert_eq!(from.len(), to.len());
    let path = watched.path("loaded.so");
    fs::write(&path, &from).unwrap();
    watched.wait_for("loaded", &path);
    let file = File::options().write(true).open(&path).unwrap();
    let differs = |place: &usize| from[*place] != to[*place];
    for place in (0..to.len()).filter(differs) {
        file.write_at(&to[place..=place], place as u64).unwrap();
        watched.watch.as_ref().unwrap().rescan_now();
        thread::sleep(settle / 20);
    }
    watched.wait_for("loaded", &path);
    assert_eq!(watched.generation("loaded"), 2);
}

/// Row 45, must fail: half a library reaches the dynamic linker.
#[test]
fn without_waiting_a_library_that_is_copied_slowly_ends_the_host() {
    let test = concat!(
        module_path!(),
        "::without_waiting_a_library_that_is_copied_slowly_ends_the_host"
    );
    let ended = child::run(test, &[], || {
        copied_slowly(Faults {
            unsettled: true,
            ..Faults::default()
        });
    });
    let signal = ended.status.signal();
    assert!(
        matches!(signal, Some(libc::SIGBUS | libc::SIGSEGV)),
        "{}\n{}",
        ended.status,
        ended.output
    );
}

/// Row 46.
#[test]
fn directories_that_are_made_with_all_they_hold_are_found() {
    let watched = Watched::new();
    let source = r#""source":{"mode":"local_so","path":"so/deep/any.so"}"#;
    for build in 1..10 {
        let name = format!("nested-{build}");
        let library = named(&name, build);
        let plugin = watched.path(&name);
        fs::create_dir_all(plugin.join("so/deep")).unwrap();
        fs::copy(&library, plugin.join("so/deep/any.so")).unwrap();
        let manifest = format!(r#"{{"name":"{name}","version":"1.0.0",{source}}}"#);
        fs::write(plugin.join("plugin.json"), manifest).unwrap();
        watched.wait_for(&name, &library);
        // And followed, as deep as they are.
        let next = named(&name, build + 100);
        fs::copy(&next, plugin.join("so/deep/any.so")).unwrap();
        watched.wait_for(&name, &next);
    }
}

/// Removes the plugin directory and makes it again with another plugin in it. No event tells of that.
fn remade(watched: &mut Watched) {
    watched.put(&named("first", 1), "first.so");
    watched.wait_for("first", &named("first", 1));
    fs::remove_dir_all(watched.plugins()).unwrap();
    let lost = watched.wait_for_code("dir.lost");
    assert_eq!(
        (lost.step, lost.path),
        (Step::Notice, Some(watched.plugins()))
    );
    fs::create_dir(watched.plugins()).unwrap();
    watched.put(&named("second", 1), "second.so");
}

/// Row 47.
#[test]
fn a_directory_that_is_removed_and_made_again_is_followed_again() {
    let mut watched = Watched::new();
    remade(&mut watched);
    watched.wait_for("second", &named("second", 1));
    let codes: Vec<_> = watched
        .seen()
        .iter()
        .filter_map(|event| event.code)
        .collect();
    assert_eq!(codes, ["dir.lost", "dir.back"]);
    // That it lacks the first plugin now is nobody's decision.
    watched.wait_for_rest();
    assert_eq!(watched.serving("first"), Some(digest(&named("first", 1))));
    // From now on it is.
    let first = watched.put(&named("first", 2), "first.so");
    watched.wait_for("first", &first);
    fs::remove_file(&first).unwrap();
    watched.wait_until_gone("first");
    assert_eq!(watched.failures(), [""; 0]);
}

/// Row 47: faster than anybody looks.
#[test]
fn a_directory_that_is_replaced_at_once_is_followed_again() {
    let mut watched = Watched::new();
    watched.put(&named("first", 1), "first.so");
    watched.wait_for("first", &named("first", 1));
    let next = watched.directory.path().join("next");
    fs::create_dir(&next).unwrap();
    fs::rename(watched.plugins(), watched.directory.path().join("before")).unwrap();
    fs::rename(&next, watched.plugins()).unwrap();
    watched.wait_for_code("dir.back");
    watched.put(&named("second", 1), "second.so");
    watched.wait_for("second", &named("second", 1));
    watched.wait_for_rest();
    assert_eq!(watched.count("dir.lost"), 1);
    assert!(watched.serving("first").is_some());
}

/// Row 47, must fail: without looking again a directory that was made again is never found.
#[test]
fn without_rescans_a_directory_that_is_made_again_is_lost() {
    let mut watched = Watched::with(options(), |builder| {
        builder.faults(Faults {
            no_rescan: true,
            ..Faults::default()
        })
    });
    remade(&mut watched);
    let start = Instant::now();
    wait_until("several rescans' time", || {
        start.elapsed() > options().rescan.unwrap() * 4
    });
    assert_eq!(watched.count("dir.back"), 0);
    assert!(watched.serving("second").is_none());
    // Nothing else is missing.
    watched.watch.as_ref().unwrap().rescan_now();
    watched.wait_for("second", &named("second", 1));
}

/// Without regular rescans a directory that is lost is looked for all the same.
#[test]
fn a_lost_directory_is_looked_for_even_without_regular_rescans() {
    let rescan = None;
    let mut watched = Watched::with(
        WatchOptions {
            rescan,
            ..options()
        },
        |builder| builder,
    );
    remade(&mut watched);
    watched.wait_for("second", &named("second", 1));
}

isolated! {
    /// Row 48: more events than the system keeps for a host that does not run.
    fn what_happens_while_events_overflow_is_found() {
        let rescan = None;
        let watched = Watched::with(WatchOptions { rescan, ..options() }, |builder| builder);
        let (first, second) = (named("loaded", 1), named("loaded", 2));
        let path = watched.put(&first, "loaded.so");
        watched.wait_for("loaded", &first);
        let script = "kill -STOP $PPID
            cd \"$1\" && seq 20000 | xargs touch && cp \"$2\" .new && mv .new \"$3\"
            kill -CONT $PPID";
        let status = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&watched.plugins(), &second, &path])
            .status()
            .expect("a shell can be run");
        assert!(status.success());
        watched.wait_for("loaded", &second);
    }
}

isolated! {
    /// Row 48: the process has no descriptor left for events.
    fn without_descriptors_the_watch_polls_and_says_so_once() {
        let mut watched = Watched::unwatched(|builder| builder);
        watched.put(&named("loaded", 1), "loaded.so");
        let limit = getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(3),
            ..limit
        };
        setrlimit(Resource::Nofile, none).unwrap();
        watched.watch = Some(watched.host.watch(options()).unwrap());
        let told = watched.wait_for_code("watch.polling");
        assert_eq!(told.step, Step::Notice);
        wait_until("another look", || watched.watch.as_ref().unwrap().looks() > 2);
        setrlimit(Resource::Nofile, limit).unwrap();
        watched.wait_for("loaded", &named("loaded", 1));
        assert_eq!(watched.count("watch.polling"), 1);
        assert_eq!(watched.count("io.emfile"), 1);
        assert_eq!(watched.count("dir.lost"), 0);
    }
}

isolated! {
    /// Row 48: the user has as many instances as the system allows.
    fn without_an_instance_for_events_the_watch_polls() {
        let builds = [1, 2].map(|build| fs::read(named("loaded", build)).unwrap());
        if geteuid().is_root() {
            // The limit is one of each user, and others are at work here.
            become_nobody();
        } else {
            println!("skipped: it would take what others of this user need");
            return;
        }
        let mut instances = Vec::new();
        loop {
            match inotify::init(CreateFlags::CLOEXEC) {
                Ok(instance) if instances.len() < 10_000 => instances.push(instance),
                Ok(_) => return println!("skipped: there is no limit"),
                Err(error) => break assert_eq!(error, Errno::MFILE),
            }
        }
        let mut watched = Watched::new();
        watched.wait_for_code("watch.polling");
        for bytes in &builds {
            fs::write(watched.path("loaded.so"), bytes).unwrap();
            watched.wait_for("loaded", &watched.path("loaded.so"));
        }
        assert_eq!(watched.count("watch.polling"), 1);
        // As soon as there is one again, it is used.
        drop(instances);
        watched.wait_for_looks(2);
        let looks = watched.watch.as_ref().unwrap().looks();
        fs::write(watched.path("loaded.so"), &builds[0]).unwrap();
        watched.wait_for("loaded", &watched.path("loaded.so"));
        assert!(watched.watch.as_ref().unwrap().looks() > looks);
    }
}

isolated! {
    /// Row 49.
    fn a_burst_of_events_is_looked_at_a_few_times() {
        let calm = WatchOptions {
            rescan: None,
            ..WatchOptions::default()
        };
        let watched = Watched::with(calm, |builder| builder);
        watched.put(&named("loaded", 1), "loaded.so");
        watched.wait_for("loaded", &named("loaded", 1));
        watched.wait_for_looks(2);
        let watch = watched.watch.as_ref().unwrap();
        let (looks, before, start) = (watch.looks(), cpu(), Instant::now());
        let script = "cd \"$1\" && seq 40000 | xargs touch";
        let status = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(watched.plugins())
            .status()
            .expect("a shell can be run");
        assert!(status.success());
        watched.put(&named("loaded", 2), "loaded.so");
        watched.wait_for("loaded", &named("loaded", 2));
        let (looks, used) = (watch.looks() - looks, cpu() - before);
        println!("{looks} looks, {used:?} of the processor");
        // A burst that goes on is looked at once a second, and what was seen new once more.
        let most = 10 + 4 * start.elapsed().as_secs();
        assert!(looks <= most, "{looks} looks, expected {most} at most");
    }
}

/// Time that this process had of the processor.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<u64> = after_name
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // The fields after the name, of which the first is a letter: user and system time, in ticks.
    Duration::from_millis((fields[10] + fields[11]) * 10)
}

/// Row 50: things that are no files stand in nobody's way, and are told once.
#[test]
fn what_is_no_file_delays_nobody() {
    let mut watched = Watched::unwatched(|builder| builder);
    mknodat(CWD, watched.path("fifo.so"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(watched.path("socket.so")).unwrap();
    symlink(named("linked", 1), watched.path("linked.so")).unwrap();
    symlink("loop", watched.path("loop")).unwrap();
    File::create(watched.path("empty.so")).unwrap();
    let manifest = watched.path("fifo-manifest");
    fs::create_dir(&manifest).unwrap();
    mknodat(
        CWD,
        manifest.join("plugin.json"),
        FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    let (_, library) = plugin_directory(&watched.plugins(), &loaded(&[]));
    watched.watch = Some(watched.host.watch(options()).unwrap());
    watched.wait_for("loaded", &library);
    wait_until("each to be told", || watched.count("dir.kind") == 6);
    watched.wait_for_rest();
    assert_eq!(watched.failures().len(), 6);
    // What becomes a file becomes a plugin.
    fs::remove_file(watched.path("linked.so")).unwrap();
    fs::copy(named("linked", 1), watched.path("linked.so")).unwrap();
    watched.wait_for("linked", &named("linked", 1));
}

isolated! {
    /// Row 50.
    fn what_cannot_be_read_is_read_when_it_can() {
        let library = named("loaded", 1);
        let bytes = fs::read(&library).unwrap();
        become_nobody();
        let mut watched = Watched::unwatched(|builder| builder);
        let path = watched.path("loaded.so");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        watched.watch = Some(watched.host.watch(options()).unwrap());
        watched.wait_for_code("io.denied");
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        watched.wait_for("loaded", &path);
        // A directory that nobody may enter any more is lost, and what came from it stays.
        fs::set_permissions(watched.plugins(), Permissions::from_mode(0o000)).unwrap();
        watched.wait_for_code("dir.lost");
        fs::set_permissions(watched.plugins(), Permissions::from_mode(0o700)).unwrap();
        watched.wait_for_code("dir.back");
        watched.wait_for_rest();
        assert_eq!(watched.generation("loaded"), 1);
        assert_eq!(watched.count("io.denied"), 1);
    }
}

/// Row 51.
#[test]
fn what_others_can_change_is_not_loaded() {
    let mut watched = Watched::new();
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let first = watched.put(&named("first", 1), "first.so");
    watched.wait_for("first", &first);

    // The directory itself.
    set(&watched.plugins(), 0o777);
    watched.wait_for_code("dir.unsafe");
    watched.put(&named("first", 2), "first.so");
    fs::remove_file(watched.put(&named("second", 1), "second.so")).unwrap();
    watched.wait_for_rest();
    assert_eq!(watched.serving("first"), Some(digest(&named("first", 1))));
    assert_eq!(watched.count("dir.unsafe"), 1);
    assert_eq!(watched.count("dir.lost"), 0);
    set(&watched.plugins(), 0o755);
    watched.wait_for("first", &named("first", 2));

    // One library of it.
    let open = watched.path(".open");
    fs::copy(named("first", 3), &open).unwrap();
    set(&open, 0o666);
    fs::rename(&open, &first).unwrap();
    wait_until("it to be told", || watched.count("dir.unsafe") == 2);
    assert_eq!(watched.serving("first"), Some(digest(&named("first", 2))));
    set(&first, 0o644);
    watched.wait_for("first", &named("first", 3));

    // A directory of a plugin.
    let (directory, library) = plugin_directory(&watched.plugins(), &loaded(&[]));
    set(&directory, 0o777);
    fs::write(directory.join("new"), "").unwrap();
    watched.wait_for_rest();
    set(&directory, 0o755);
    watched.wait_for("loaded", &library);
    let told: Vec<&Event> = watched
        .seen()
        .iter()
        .filter(|one| one.code.is_some())
        .collect();
    assert!(told.len() <= 3, "{told:?}");
}

/// Row 51: what others can change may be far from the place, where no picture shows that it is mended.
#[test]
fn a_library_behind_an_open_directory_is_loaded_when_that_is_closed() {
    let mut watched = Watched::new();
    let outside = watched.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::copy(loaded(&[]), outside.join("any.so")).unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o777)).unwrap();
    let plugin = watched.path("loaded");
    fs::create_dir(&plugin).unwrap();
    symlink(&outside, plugin.join("so")).unwrap();
    let source = r#""source":{"mode":"local_so","path":"so/any.so"}"#;
    let manifest = format!(r#"{{"name":"loaded","version":"1.0.0",{source}}}"#);
    fs::write(plugin.join("plugin.json"), manifest).unwrap();
    let told = watched.wait_for_code("dir.unsafe");
    assert!(told.message.contains("chmod o-w"), "{told}");
    assert!(watched.serving("loaded").is_none());
    fs::set_permissions(&outside, Permissions::from_mode(0o755)).unwrap();
    watched.wait_for("loaded", &outside.join("any.so"));
    assert_eq!(watched.count("dir.unsafe"), 1);
}
