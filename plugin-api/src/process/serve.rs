//! A program's life, from its first line to its last.

use std::env;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use super::call::Calls;
use super::http::write_response;
use super::life::{End, Ended, Life};
use super::listen::{Listener, Stream};
use super::plugin::{Plugin, Response};
use super::router::{Served, caught};
use super::wire::{self, Config, PROTOCOL, StartLine};
use super::{connection, log};
use crate::context::Level;

/// How many connections there may be, at least. What comes over it is answered 503 and closed.
const CONNECTIONS: usize = 256;
/// How many there may be beside those that the host's calls take.
const SPARE_CONNECTIONS: usize = 64;
/// How long a plugin may take to end what it began, if the host is gone.
const LOST_STOP: Duration = Duration::from_millis(300);
/// How long the program lives on in any case, if the host is gone.
const LOST_LIMIT: Duration = Duration::from_millis(900);
/// How long it may take in other cases, at least; else as long as what is left of the grace.
const LEAST_STOP: Duration = Duration::from_millis(100);

/// Why a program cannot be served. It is written to the host's log.
#[derive(Debug)]
enum Refusal {
    Config(String),
    Protocol(u32),
    Token,
    Bind { address: String, error: io::Error },
    Start(String),
    System(io::Error),
}

/// Serves `plugin` until the host asks it to end, is gone, or nobody calls any more; it is the whole `main` of
/// a program. With the last argument `capabilities` it prints the `plugin.json` and that is all.
///
/// The status is 0 if every call that began was answered, 1 if one would not end, and 2 if the host's
/// configuration is missing or wrong, or the plugin could not be prepared. A second SIGTERM or SIGINT ends the
/// program at once.
#[must_use]
pub fn serve(plugin: impl Plugin + 'static) -> ExitCode {
    if env::args_os()
        .next_back()
        .is_some_and(|last| last == "capabilities")
    {
        let printed = writeln!(io::stdout(), "{}", plugin.capabilities().trim_end());
        return if printed.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    // Threads that hang hold on to it until the process is gone.
    let plugin: &'static dyn Plugin = Box::leak(Box::new(plugin));
    match life(plugin) {
        Ok(ended) => leave(plugin, ended),
        Err(refusal) => {
            log(Level::Error, refusal);
            ExitCode::from(2)
        }
    }
}

fn life(plugin: &'static dyn Plugin) -> Result<Ended, Refusal> {
    let config = read_config()?;
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(Refusal::System)?;
    let bind = Listener::bind(&config.address);
    let (listener, address) = bind.map_err(|error| Refusal::Bind {
        address: config.address.clone(),
        error,
    })?;
    let served: &'static Served<'static> = Box::leak(Box::new(Served {
        plugin,
        life: Life::new(config.calls),
        calls: Calls::default(),
        token: config.token.clone(),
    }));
    spawn("plg-host-gone", move || follow_host(&served.life))?;
    spawn("plg-signals", move || follow_signals(signals, &served.life))?;
    let calls = usize::try_from(config.calls.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = calls.saturating_add(SPARE_CONNECTIONS).max(CONNECTIONS);
    spawn("plg-accept", move || accept(&listener, served, limit))?;
    print_start(&config, plugin, address)?;

    let idle = config.idle_ms.map(Duration::from_millis);
    spawn("plg-start", move || start(&config, served))?;
    Ok(served.life.wait(idle, || served.calls.cancel_all()))
}

/// Prepares the plugin, aside: however long that takes, somebody sees that the program should end.
fn start(config: &Config, served: &Served<'_>) {
    let _busy = served.life.request();
    let message = match caught(|| served.plugin.start(config)) {
        Some(Ok(())) => return served.life.ready(),
        Some(Err(error)) => error.to_string(),
        None => "it panicked".to_owned(),
    };
    log(Level::Error, Refusal::Start(message));
    served.life.end(End::Failed);
}

/// Lets the plugin end what it began. What it does not end in time ends with the process.
fn leave(plugin: &'static dyn Plugin, ended: Ended) -> ExitCode {
    if ended.end == End::Failed {
        return ExitCode::from(2);
    }
    let now = Instant::now();
    let limit = match ended.end {
        End::Lost => LOST_STOP,
        _ => ended
            .deadline
            .saturating_duration_since(now)
            .max(LEAST_STOP),
    };
    let (done, over) = mpsc::channel();
    let stop = spawn("plg-stop", move || {
        if ended.was_ready {
            caught(|| plugin.stop());
        }
        // Nobody listens any more once it took too long.
        let _ = done.send(());
    });
    let is_stopped = stop.is_ok() && over.recv_timeout(limit).is_ok();
    let status = i32::from(!(ended.is_clean && is_stopped));
    if status != 0 || ended.end == End::Lost {
        // Code that hangs could hang what runs at an ordinary exit as well.
        low_level::exit(status);
    }
    ExitCode::SUCCESS
}

fn read_config() -> Result<Config, Refusal> {
    let mut line = Vec::new();
    let limit = wire::MAX_CONFIG as u64 + 1;
    let read = io::stdin().lock().take(limit).read_until(b'\n', &mut line);
    read.map_err(|error| Refusal::Config(error.to_string()))?;
    if line.is_empty() {
        let message = "this program is started by a plugin host, which tells it where to listen";
        return Err(Refusal::Config(message.to_owned()));
    }
    let config: Config = wire::decode(&line, wire::MAX_CONFIG)
        .map_err(|error| Refusal::Config(error.to_string()))?;
    if config.protocol < PROTOCOL {
        return Err(Refusal::Protocol(config.protocol));
    }
    let has_token = config.token.as_ref().is_some_and(|token| !token.is_empty());
    if config.address.starts_with("tcp:") && !has_token {
        return Err(Refusal::Token);
    }
    Ok(config)
}

fn print_start(config: &Config, plugin: &dyn Plugin, address: String) -> Result<(), Refusal> {
    let start = StartLine {
        plg: PROTOCOL,
        plugin: config.plugin.clone(),
        version: plugin.version().to_owned(),
        nonce: config.nonce.clone(),
        address,
        state: plugin.state_version(),
    };
    let mut line = wire::encode(&start, wire::MAX_START - 1)
        .map_err(|error| Refusal::Config(format!("the start line is too long: {error}")))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(&line).and_then(|()| stdout.flush());
    written.map_err(Refusal::System)
}

/// Waits for the end of standard input: then the host is gone.
fn follow_host(life: &Life) {
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => {
                let count = bytes.len();
                stdin.consume(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    life.end(End::Lost);
    // Should even the orderly end hang, this one does not.
    thread::sleep(LOST_LIMIT);
    low_level::exit(1);
}

fn follow_signals(mut signals: Signals, life: &Life) {
    let mut told = false;
    for signal in signals.forever() {
        if told {
            // Whoever repeats it means at once. Should it not be the end for once, the next line is.
            let _ = low_level::emulate_default_handler(signal);
            low_level::exit(128 + signal);
        }
        told = true;
        life.end(End::Asked);
    }
}

fn accept(listener: &Listener, served: &'static Served<'static>, limit: usize) {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);

    loop {
        let Ok(stream) = listener.accept() else {
            // Out of descriptors, most likely; one comes back when a connection ends.
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        if TAKEN.fetch_add(1, Ordering::SeqCst) >= limit {
            TAKEN.fetch_sub(1, Ordering::SeqCst);
            refuse(&stream);
            continue;
        }
        let stream = Arc::new(stream);
        let spawned = spawn("plg-connection", {
            let stream = stream.clone();
            move || {
                connection::serve(served, &stream);
                TAKEN.fetch_sub(1, Ordering::SeqCst);
            }
        });
        if spawned.is_err() {
            TAKEN.fetch_sub(1, Ordering::SeqCst);
            refuse(&stream);
        }
    }
}

/// A few bytes on a new connection do not block.
fn refuse(stream: &Stream) {
    let response = Response::text(503, "there are too many connections");
    let _ = write_response(stream, &response, false, true);
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Refusal> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(Refusal::System)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(message) => write!(f, "no configuration: {message}"),
            Self::Protocol(version) => write!(
                f,
                "the host speaks version {version} of the protocol, expected {PROTOCOL} or later"
            ),
            Self::Token => f.write_str("the configuration has an address of TCP but no token"),
            Self::Bind { address, error } => write!(f, "failed to listen on `{address}`: {error}"),
            Self::Start(message) => write!(f, "the plugin could not be prepared: {message}"),
            Self::System(error) => write!(f, "failed to begin: {error}"),
        }
    }
}
