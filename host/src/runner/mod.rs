//! Running a library in a process of its own.
//!
//! Any native plugin can be isolated without a rebuild: a child maps the very bytes that the host checked and
//! sealed, and serves them over the native protocol. The child is any program that calls [`run_if_asked`] first
//! thing in `main`: the `plg` command does, and an app can. The host is told which one with
//! [`Builder::runner`](crate::Builder::runner).
//!
//! - `served`: a mapped library, as something that can be served.

mod served;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::process::ExitCode;

use plg_packaging::Parsed;
use plg_plugin_api::Level;
use plg_plugin_api::process::{log, serve};

use crate::loader::image::{Bytes, Image};
use crate::loader::library::Library;
use crate::loader::preflight::Rules;
use crate::loader::{LoadError, manifest_under};
use served::Served;

/// The argument that makes a program a runner.
const ARGUMENT: &str = "__plg-runner";
/// The status of a runner that has nothing to serve, as for a program whose configuration is wrong.
const REFUSED: u8 = 2;

/// Serves the library that a host gave to this process, and ends the process, if it was started to do that.
/// Call it first thing in `main` of an app whose host isolates plugins with the app's own program:
///
/// ```no_run
/// use plg_host::Host;
///
/// plg_host::runner::run_if_asked();
/// let host = Host::builder().plugin_dir("plugins").runner("/proc/self/exe").build()?;
/// host.load_all()?;
/// host.isolate("hello")?;
/// # Ok::<(), plg_host::Error>(())
/// ```
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return;
    }
    let given: Vec<OsString> = arguments.collect();
    let code = match open_given(&given) {
        Ok(served) => serve(served),
        Err(why) => refuse(&why),
    };
    // Whatever the plugin left behind is not waited for.
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// Serves the library at `path` over the native protocol, as a program of its own does: the configuration comes
/// from the standard input and the start line goes to the standard output.
///
/// It returns the status that the process should end with. What is wrong with the library is written to the
/// standard error.
#[must_use]
pub fn serve_library(path: &Path) -> ExitCode {
    let open = || -> Result<Served, LoadError> {
        let bytes = Bytes::read(path, u64::MAX - 1)?;
        let rules = Rules {
            isolated: true,
            ..Rules::default()
        };
        let Parsed { manifest, .. } = manifest_under(&bytes, &rules)?;
        let library = Library::open(bytes.seal(None)?)?;
        let version = manifest.version.to_string();
        Ok(Served::new(library, version, manifest.to_json()))
    };
    match open() {
        Ok(served) => serve(served),
        Err(error) => refuse(&error.to_string()),
    }
}

/// What a runner is given: the arguments for the image that is behind `file`.
pub(crate) fn arguments(file: &File, name: &str, version: &str) -> Vec<OsString> {
    let number = file.as_raw_fd().to_string();
    [ARGUMENT, &number, name, version]
        .map(OsString::from)
        .into()
}

fn open_given(given: &[OsString]) -> Result<Served, String> {
    let [number, name, version] = given else {
        return Err("a runner is started by a plugin host".to_owned());
    };
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let number: RawFd = text(number)
        .parse()
        .map_err(|_| "the number of the image is none".to_owned())?;
    let file = reopen(number).map_err(|error| format!("the image cannot be opened: {error}"))?;
    let image = Image::given(Path::new(name), file);
    let image = image.map_err(|error| format!("the image cannot be read: {error}"))?;
    let library = Library::open(image).map_err(|error| error.to_string())?;
    // Its host has read the manifest.
    Ok(Served::new(library, text(version), "{}".to_owned()))
}

/// The image under a descriptor of its own. The one that was given stays open, which does no harm.
fn reopen(number: RawFd) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{number}"))
}

fn refuse(why: &str) -> ExitCode {
    log(Level::Error, why);
    ExitCode::from(REFUSED)
}
