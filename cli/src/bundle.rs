//! Bundles as the command line sees them: opened, described, and how far the work on one is.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anstyle::Style;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use plg_packaging::bundle::error::io_code;
use plg_packaging::bundle::pack::{Progress, Step};
use plg_packaging::bundle::{Contents, EXTENSION, Limits, Member, Reader};
use serde_json::{Value, json};

use crate::problem::Problem;

/// Whether a file is a bundle: by its name, or by how it begins.
pub(crate) fn is_one(path: &Path) -> bool {
    if path
        .extension()
        .is_some_and(|extension| extension == EXTENSION)
    {
        return true;
    }
    let mut start = [0; 2];
    // What is no regular file is not opened: a fifo would wait for its writer.
    path.is_file()
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut start))
            .is_ok_and(|()| start == [0x1f, 0x8b])
}

/// Opens a bundle and reads its head.
pub(crate) fn open(path: &Path) -> Result<Reader<File>, Problem> {
    let (file, _) = file(path)?;
    head(path, file)
}

/// Opens a bundle of which all is going to be read, and shows how far that is.
pub(crate) fn open_watched(
    path: &Path,
    bar: &Bar,
) -> Result<Reader<impl Read + Send + use<>>, Problem> {
    let (file, size) = file(path)?;
    bar.0.set_message("unpacking");
    bar.0.set_length(size);
    head(path, bar.0.wrap_read(file))
}

fn file(path: &Path) -> Result<(File, u64), Problem> {
    let metadata = fs::metadata(path).map_err(|error| failed("read", path, &error))?;
    if !metadata.is_file() {
        let detail = format!("`{}` is no regular file, expected a bundle", path.display());
        return Err(Problem::new("bundle.kind", detail));
    }
    let file = File::open(path).map_err(|error| failed("read", path, &error))?;
    Ok((file, metadata.len()))
}

fn head<R: Read + Send>(path: &Path, source: R) -> Result<Reader<R>, Problem> {
    Reader::open(source, &Limits::default()).map_err(|error| of_file(path, &Problem::from(&error)))
}

/// The system did not do what was asked of it.
pub(crate) fn failed(what: &str, path: &Path, error: &io::Error) -> Problem {
    let detail = format!("failed to {what} `{}`", path.display());
    Problem::new(io_code(error), detail).because(error)
}

/// The directory that a path stands in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The problem with the name of the file that has it.
pub(crate) fn of_file(path: &Path, problem: &Problem) -> Problem {
    problem.clone().with("path", path.display().to_string())
}

/// The members as JSON.
pub(crate) fn members_json(contents: &Contents) -> Value {
    let members = contents.members.iter();
    members
        .map(|member| {
            json!({
                "path": member.path,
                "bytes": member.size,
                "digest": member.digest.to_string(),
                "executable": member.executable,
            })
        })
        .collect()
}

/// The platforms that it has libraries for.
pub(crate) fn targets(contents: &Contents) -> Vec<&str> {
    contents
        .libraries
        .keys()
        .map(|target| target.as_str())
        .collect()
}

/// One line for each member.
pub(crate) fn print_members(members: &[Member], out: &mut impl Write) -> io::Result<()> {
    const FAINT: Style = Style::new().dimmed();
    let path = |member: &Member| member.path.as_str().len();
    let width = members.iter().map(path).max().unwrap_or_default();
    for member in members {
        let mark = if member.executable { " *" } else { "" };
        let size = HumanBytes(member.size).to_string();
        writeln!(
            out,
            "  {:width$}  {size:>11}  {FAINT}{}{FAINT:#}{mark}",
            member.path, member.digest
        )?;
    }
    Ok(())
}

/// Shows on a terminal how far the work on a bundle is.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// It is drawn on the standard error, from the first news on, and only where somebody sees it.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{msg:9} {wide_bar} {binary_bytes}/{binary_total_bytes}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows how far the packing is.
    pub(crate) fn show(&self, progress: Progress) {
        let word = match progress.step {
            Step::Digest => "reading",
            _ => "packing",
        };
        self.0.set_message(word);
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
    }

    /// Takes it away.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
