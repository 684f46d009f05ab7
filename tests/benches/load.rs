//! What finding and loading costs, against doing without any check.
#![expect(unsafe_code, reason = "the other side of every ratio maps unchecked")]

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use plg_host::{Host, MANIFEST, Unloaded};
use plg_plugin_api::abi::{DESCRIPTOR_SYMBOL, DescriptorGetter};
use plg_tests::bench::{Bench, once};
use plg_tests::fixtures::{Variant, library};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;
use walkdir::WalkDir;

fn main() {
    let mut bench = Bench::new("load");
    let hello = library("hello", Variant::Release);
    one(&mut bench, &hello);
    hundred(&mut bench, &hello);
    ten_thousand(&mut bench);
    bench.print();
}

/// A library and a plugin directory are loaded; unloading is not timed on either side.
fn one(bench: &mut Bench, hello: &Path) {
    const RAW: &str = "read + memfd + dlopen + dlsym";
    let host = Host::builder().build().expect("a host can be made");
    let load = |path: &Path| {
        let (time, loaded) = once(|| host.load(path));
        loaded.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(host.unload("hello").ok(), Some(Unloaded::Unmapped));
        time
    };
    let raw = || {
        let (time, opened) = once(|| open_sealed(hello));
        opened.0.close().expect("a library can be closed");
        time
    };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let plugin = directory.path().join("hello");
    write_plugin(&plugin, &manifest("hello"), |path| {
        fs::copy(hello, path).map(drop)
    });
    let size = fs::metadata(hello).map_or(0, |metadata| metadata.len()) / 1024;
    let name = format!("load of a small plugin, {size} KiB");
    bench.compare((&name, 1.5), 401, || load(&plugin), RAW, raw);
    let name = format!("load of its bare library, {size} KiB");
    bench.compare((&name, 1.5), 401, || load(hello), RAW, raw);
}

/// What a host does at least that does not map the path it was given.
fn open_sealed(path: &Path) -> (Library, fs::File) {
    let bytes = fs::read(path).expect("the library can be read");
    let file = memfd_create(c"raw", MemfdFlags::CLOEXEC).expect("memory can be had");
    let mut file = fs::File::from(file);
    file.write_all(&bytes).expect("the library can be written");
    let library = open(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref());
    (library, file)
}

fn open(path: &Path) -> Library {
    // SAFETY: the constructors of the sample plugin do nothing that outlives it.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.expect("the library can be mapped");
    // SAFETY: the ABI gives the symbol this type.
    let symbol = unsafe { library.get::<DescriptorGetter>(DESCRIPTOR_SYMBOL) };
    black_box(*symbol.expect("the library exports its getter"));
    library
}

/// Plugins with names of their own, each in its directory.
fn hundred(bench: &mut Bench, hello: &Path) {
    const COUNT: usize = 100;
    const NAME: &str = "100 plugins: discover, preflight, load";
    if !bench.wants(NAME) {
        return;
    }
    let bytes = fs::read(hello).expect("the library can be read");
    let base = tempfile::tempdir().expect("a directory can be made");
    let mut libraries: Vec<PathBuf> = Vec::new();
    for number in 0..COUNT {
        let name = format!("p{number:04}");
        let directory = base.path().join(&name);
        write_plugin(&directory, &manifest(&name), |path| {
            libraries.push(path.to_owned());
            fs::write(path, renamed(&bytes, &name))
        });
    }
    bench.compare(
        (NAME, 5.0),
        41,
        || {
            let (time, loaded) = once(|| {
                let host = Host::builder().plugin_dir(base.path()).build();
                let host = host.unwrap_or_else(|error| panic!("{error}"));
                let report = host.load_all();
                (host, report.unwrap_or_else(|error| panic!("{error}")))
            });
            let (host, report) = loaded;
            assert_eq!((report.loaded.len(), report.failed.len()), (COUNT, 0));
            let unloaded = host.shutdown().unwrap_or_default();
            let unmapped = |(_, outcome): &(_, Unloaded)| *outcome == Unloaded::Unmapped;
            assert!(unloaded.len() == COUNT && unloaded.iter().all(unmapped));
            time
        },
        "100 dlopen + dlsym",
        || {
            let (time, opened) = once(|| -> Vec<_> { libraries.iter().map(|p| open(p)).collect() });
            for library in opened {
                library.close().expect("a library can be closed");
            }
            time
        },
    );
}

/// A copy of hello whose embedded manifest has another name of five letters.
fn renamed(hello: &[u8], name: &str) -> Vec<u8> {
    const NAMED: &[u8] = br#""name": "hello""#;
    let mut bytes = hello.to_vec();
    let start = bytes
        .windows(NAMED.len())
        .position(|window| window == NAMED)
        .expect("hello embeds its manifest");
    let end = start + NAMED.len() - 1;
    bytes[end - name.len()..end].copy_from_slice(name.as_bytes());
    bytes
}

/// What `plugin.json` says, for somebody who checks nothing.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are what reading them costs")]
struct Unchecked {
    name: String,
    version: String,
    description: Option<String>,
    maintainers: Option<Vec<String>>,
    home: Option<String>,
    labels: Option<Vec<String>>,
    http_services: Option<Services>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are what reading them costs")]
struct Services {
    driver: Option<String>,
    routes: Vec<Route>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are what reading them costs")]
struct Route {
    route: String,
    method: String,
    label: String,
}

/// Directories with a manifest and a library, which nobody opens.
fn ten_thousand(bench: &mut Bench) {
    const COUNT: usize = 10_000;
    const NAME: &str = "discover 10,000 manifests";
    if !bench.wants(NAME) {
        return;
    }
    let base = tempfile::tempdir().expect("a directory can be made");
    for number in 0..COUNT {
        let name = format!("plugin-{number:05}");
        let directory = base.path().join(&name);
        write_plugin(&directory, &manifest(&name), |path| {
            fs::write(path, "no library")
        });
    }
    let host = Host::builder().plugin_dir(base.path()).build();
    let host = host.unwrap_or_else(|error| panic!("{error}"));
    bench.compare(
        (NAME, 1.0),
        31,
        || {
            let (time, found) = once(|| host.discover());
            assert_eq!((found.candidates.len(), found.problems.len()), (COUNT, 0));
            time
        },
        "walkdir + serde_json, 1 thread",
        || {
            let (time, found) = once(|| walk(base.path()));
            assert_eq!(found.len(), COUNT);
            time
        },
    );
}

fn walk(base: &Path) -> Vec<Unchecked> {
    let entries = WalkDir::new(base).into_iter().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name() == MANIFEST)
        .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
        .collect()
}

fn write_plugin(
    directory: &Path,
    manifest: &str,
    write_library: impl FnOnce(&Path) -> std::io::Result<()>,
) {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let library = directory.join(format!("lib{}.so", name.replace('-', "_")));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(directory.join(MANIFEST), manifest))
        .and_then(|()| write_library(&library))
        .expect("a plugin's directory can be written");
}

/// A manifest with what most have.
fn manifest(name: &str) -> String {
    format!(
        r#"{{
  "name": "{name}",
  "version": "0.1.0",
  "description": "Greets whoever it is told to greet, in the words of {name}",
  "maintainers": ["Ada <ada@example.com>", "Grace <grace@example.com>"],
  "home": "https://example.com/plugins/{name}",
  "labels": ["greet", "part"],
  "http_services": {{
    "driver": "restful",
    "routes": [
      {{ "route": "/greetings/{name}", "method": "POST", "label": "greet" }},
      {{ "route": "/partings/{name}", "method": "POST", "label": "part" }}
    ]
  }}
}}
"#
    )
}
