//! `plg new`: a plugin to start from.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use plg_host::PluginName;
use serde_json::json;

use crate::exit::Exit;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Make the crate of a new plugin, which builds, and whose test passes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg new word-count
  plg new word-count --process
  plg new /srv/src/word-count --api-path ../plg/plugin-api")]
pub(crate) struct New {
    /// The plugin's name, or the path of its directory, whose last part is the name
    name: PathBuf,
    /// Make a program that runs in a process of its own, instead of a library
    #[arg(long)]
    process: bool,
    /// Depend on plg-plugin-api in this directory instead of a published version
    #[arg(long, value_name = "PATH")]
    api_path: Option<PathBuf>,
}

/// The files of a new plugin, with what stands in braces twice still to be filled in.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../template/lib.rs.in")),
    ("plugin.json", include_str!("../../template/plugin.json.in")),
    ("README.md", include_str!("../../template/README.md.in")),
    (".gitignore", include_str!("../../template/gitignore.in")),
];

/// The files of a new plugin that is a program.
const PROGRAM: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../template/program.toml.in")),
    ("src/main.rs", include_str!("../../template/main.rs.in")),
    (
        "plugin.json",
        include_str!("../../template/program.json.in"),
    ),
    ("README.md", include_str!("../../template/program.md.in")),
    (".gitignore", include_str!("../../template/gitignore.in")),
];

/// Names that are fine for a plugin, and that Rust, cargo or its dependency keep for themselves.
const RESERVED: [&str; 58] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "plg-plugin-api",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "use",
    "where",
    "while",
];

impl New {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let name = plugin_name(&self.name)?;
        let directory = &self.name;
        check_empty(directory)?;
        let place = self.dependency()?;
        let with = |feature: &str| format!("{{ {place}, features = [\"{feature}\"] }}");
        let template = if self.process { PROGRAM } else { TEMPLATE };
        for (file, text) in template {
            let text = text
                .replace("{{name}}", name.as_str())
                .replace("{{api}}", &self.plain(&place))
                .replace("{{api-process}}", &with("process"))
                .replace("{{api-testing}}", &with("testing"));
            write(&directory.join(file), &text)?;
        }
        if is_below_workspace(directory) {
            stand_alone(&directory.join("Cargo.toml"))?;
        }
        if output.is_json() {
            output.json(&json!({
                "plugin": name,
                "path": directory,
                "files": template.map(|(file, _)| file),
            }))?;
            return Ok(Exit::Ok);
        }
        let shown = directory.display();
        let mut out = output.text();
        writeln!(out, "made the plugin `{name}` in `{shown}`")?;
        writeln!(
            out,
            "call it: plg call {} greet name=Ada",
            callable(directory)
        )?;
        if self.api_path.is_none() {
            writeln!(
                out,
                "it depends on plg-plugin-api {} from the registry; `--api-path` takes it from a clone",
                requirement()
            )?;
        }
        Ok(Exit::Ok)
    }

    /// Where cargo finds the plugin API.
    fn dependency(&self) -> Result<String, Problem> {
        let Some(path) = &self.api_path else {
            return Ok(format!("version = \"{}\"", requirement()));
        };
        let found = path.canonicalize().map_err(|error| {
            let detail = format!("there is no plg-plugin-api in `{}`", path.display());
            Problem::new("io.not_found", detail).because(&error)
        })?;
        let manifest = std::fs::read_to_string(found.join("Cargo.toml")).unwrap_or_default();
        if !manifest.contains("name = \"plg-plugin-api\"") {
            let detail = format!("the crate plg-plugin-api is not in `{}`", path.display());
            let problem = Problem::new("io.not_found", detail);
            return Err(problem.help("give the directory of the crate plg-plugin-api"));
        }
        // A JSON text is a TOML text too.
        let path = json!(found.to_string_lossy());
        Ok(format!("path = {path}"))
    }

    /// The dependency without a feature, as people write it.
    fn plain(&self, place: &str) -> String {
        match self.api_path {
            Some(_) => format!("{{ {place} }}"),
            None => format!("\"{}\"", requirement()),
        }
    }
}

/// The published version that fits this program: everything before 1.0 may break with the second number.
fn requirement() -> String {
    format!(
        "{}.{}",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR")
    )
}

fn plugin_name(path: &Path) -> Result<PluginName, Problem> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let refused = |detail: String| Problem::new("usage.name", detail);
    if RESERVED.contains(&&*name) {
        return Err(refused(format!(
            "`{name}` cannot name a crate, so it cannot name a plugin"
        )));
    }
    PluginName::new(&name).map_err(|error| refused(error.to_string()))
}

/// Fails unless nothing stands there, or an empty directory.
pub(super) fn check_empty(directory: &Path) -> Result<(), Problem> {
    let shown = directory.display();
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Problem::new(
            "usage.not_empty",
            format!("`{shown}` is there already, and no directory"),
        )),
        Err(error) => Err(failed("read", directory, &error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                "usage.not_empty",
                format!("`{shown}` is not empty"),
            )),
        },
    }
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| failed("make", parent, &error))?;
    fs::write(path, text).map_err(|error| failed("write", path, &error))
}

/// Whether cargo would take a crate in `directory` for a member of a workspace above it.
fn is_below_workspace(directory: &Path) -> bool {
    let directory = directory.canonicalize().unwrap_or_default();
    directory.ancestors().skip(1).any(|above| {
        let manifest = fs::read_to_string(above.join("Cargo.toml")).unwrap_or_default();
        let mut lines = manifest.lines().map(str::trim);
        lines.any(|line| line.starts_with("[workspace]") || line.starts_with("[workspace."))
    })
}

/// Makes the crate a workspace of its own, so that the one above does not have to know it.
fn stand_alone(manifest: &Path) -> Result<(), Problem> {
    let append = || {
        let mut file = fs::File::options().append(true).open(manifest)?;
        file.write_all(b"\n# The workspace above does not know this crate.\n[workspace]\n")
    };
    append().map_err(|error| failed("write", manifest, &error))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => "io.denied",
        _ => "io.failed",
    };
    Problem::new(code, format!("failed to {what} `{}`", path.display())).because(error)
}

/// The path so that `plg call` takes it for one.
fn callable(directory: &Path) -> String {
    let shown = directory.display().to_string();
    if shown.contains('/') {
        shown
    } else {
        format!("./{shown}")
    }
}
