//! `plugin.json` from the outside: bytes in, a manifest or codes with paths out. A new case goes into the table of the
//! code it provokes.

use std::time::{Duration, Instant};

use plg_packaging::{
    Manifest, PluginName, Problem,
    manifest::{Dialect, Isolation, MAX_BYTES, Method, SocketKind, Source, code, precedence},
};

const GO_PLUGIN: &str = include_str!("samples/go-plugin.json");
const SAMPLE: &str = include_str!("samples/sample.json");
const FULL: &str = include_str!("samples/full.json");

#[test]
fn samples_of_go_plugin_are_accepted_as_they_are() {
    let manifest = clean(GO_PLUGIN);
    assert_eq!(manifest.name, "go-plugin");
    assert_eq!(manifest.version.to_string(), "0.1.0");
    assert_eq!(manifest.maintainers, ["szou@vmware.com"]);
    let Some(Source::LocalSo { path }) = &manifest.source else {
        panic!("{manifest:?}")
    };
    assert_eq!(path, "sample.so");
    let services = manifest.http_services.as_ref().unwrap();
    assert_eq!(services.driver.as_ref().unwrap(), "beego");
    assert_eq!(services.routes[0].route, "/api/plugin/sample/:id");
    assert_eq!(services.routes[1].method, Method::Post);
    assert_eq!(services.routes[1].label, "plugin.post");

    let manifest = clean(SAMPLE);
    assert_eq!(manifest.check_identity("sample"), Ok(()));
}

#[test]
fn every_field_is_read_and_written_back() {
    let manifest = clean(FULL);
    let Some(Source::RemoteGit { url }) = &manifest.source else {
        panic!("{manifest:?}")
    };
    assert_eq!(url, "https://example.org/everything.git");
    assert_eq!(manifest.api.as_ref().unwrap().to_string(), ">=1, <3");
    assert_eq!(manifest.labels.len(), 3);
    assert!(!manifest.dependencies["greeter"].optional);
    assert!(manifest.dependencies["cache"].optional);
    assert_eq!(manifest.isolation, Some(Isolation::Sandboxed));
    let process = manifest.process.as_ref().unwrap();
    assert_eq!(process.exec, "bin/everything");
    assert_eq!(process.args, ["--verbose", ""]);
    assert_eq!(process.dialect, Dialect::Hashicorp);
    assert_eq!(process.transport, Some(SocketKind::Tcp));
    assert_eq!(
        process.idle_timeout.unwrap().duration(),
        Duration::from_secs(5400)
    );
    assert!(manifest.config_schema.as_ref().unwrap()["properties"]["size"]["default"].is_null());
    assert_eq!(manifest.permissions[1], "fs.read:/etc/hosts");

    for sample in [GO_PLUGIN, SAMPLE, FULL] {
        let manifest = clean(sample);
        assert_eq!(clean(&manifest.to_json()), manifest);
    }
    let minimal = Manifest::minimal(
        PluginName::new("greeter").unwrap(),
        semver::Version::new(1, 0, 0),
    );
    assert_eq!(clean(&minimal.to_json()), minimal);
}

#[test]
fn all_problems_are_reported_at_once_with_their_paths() {
    let text = r#"{
        "name": 7,
        "version": "new",
        "description": "a\u001b[2Jb",
        "maintainers": ["ok", 1, null, "x\u0000"],
        "source": { "mode": "local_so", "path": "../x.so", "pth": 1 },
        "http_services": { "routes": [
            { "route": "/a", "method": "GET", "label": "a" },
            { "route": "/a", "method": "GRAB", "label": "b c" },
            "no route",
            { "route": 1, "label": "d" }
        ] },
        "labels": { "a": 1 },
        "dependencies": { "Bad": "^1", "good": "new", "other": { "optional": "yes" }, "more": null },
        "isolation": "none",
        "process": { "exec": "/bin/sh", "dialect": "http", "transport": "pigeon", "idle_timeout": "soon", "uid": 0 },
        "permissions": ["a", "a", "b c"],
        "config_schema": { "x": [ { "y": 1, "y": 2 } ] }
    }"#;
    let error = Manifest::parse(text.as_bytes()).unwrap_err();
    let mut found: Vec<_> = error
        .problems()
        .iter()
        .map(|p| (p.code, p.path.as_str()))
        .collect();
    found.sort_unstable();
    let mut expected = vec![
        (code::FIELD, "$.name"),
        (code::VERSION, "$.version"),
        (code::FIELD, "$.description"),
        (code::FIELD, "$.maintainers[1]"),
        (code::FIELD, "$.maintainers[2]"),
        (code::FIELD, "$.maintainers[3]"),
        (code::PATH, "$.source.path"),
        (code::UNKNOWN_FIELD, "$.source.pth"),
        (code::ROUTE_CONFLICT, "$.http_services.routes[1].method"),
        (code::LABEL, "$.http_services.routes[1].label"),
        (code::FIELD, "$.http_services.routes[2]"),
        (code::FIELD, "$.http_services.routes[3].route"),
        (code::MISSING_FIELD, "$.http_services.routes[3].method"),
        (code::FIELD, "$.labels"),
        (code::DEPENDENCY, "$.dependencies.Bad"),
        (code::DEPENDENCY, "$.dependencies.good"),
        (code::FIELD, "$.dependencies.more"),
        (code::FIELD, "$.dependencies.other.optional"),
        (code::MISSING_FIELD, "$.dependencies.other.version"),
        (code::FIELD, "$.isolation"),
        (code::PATH, "$.process.exec"),
        (code::FIELD, "$.process.dialect"),
        (code::FIELD, "$.process.transport"),
        (code::FIELD, "$.process.idle_timeout"),
        (code::UNKNOWN_FIELD, "$.process.uid"),
        (code::FIELD, "$.permissions[1]"),
        (code::FIELD, "$.permissions[2]"),
        (code::JSON, "$.config_schema.x[0].y"),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    let shown = error.to_string();
    assert_eq!(shown.lines().count(), expected.len());
    assert!(
        shown.contains("[manifest.field] $.name: expected a string, found the number 7"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `path`?"), "{shown}");
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\0'),
        "{shown:?}"
    );
}

#[test]
fn what_is_not_one_json_document_is_refused() {
    for text in [
        "",
        "{",
        "nonsense",
        "\u{feff}{}",
        r#"{ "name": "a", "version": "1.0.0" } x"#,
        r#"{ "name": "a", "version": "1.0.0" }{}"#,
        r#"{ "name": "a", "version": "1.0.0", }"#,
        r#"{ "name": "\ud800", "version": "1.0.0" }"#,
        r#"{ "name": "a", "version": "1.0.0", "extra": "\udc00" }"#,
        r#"{ "name": "a", "version": "1.0.0", "extra": 1e999 }"#,
    ] {
        refuse(text, code::JSON, "$");
    }
    let error = Manifest::parse("\u{feff}{}".as_bytes()).unwrap_err();
    assert!(error.to_string().contains("byte order mark"), "{error}");
    let error = Manifest::parse(b"{ \"name\": \"\xff\" }").unwrap_err();
    assert_eq!(error.code(), code::JSON);
    assert!(error.to_string().contains("offset 11"), "{error}");
}

#[test]
fn a_key_may_stand_only_once_at_every_level_and_in_every_spelling() {
    for (fields, path) in [
        (r#""name": "b""#, "$.name"),
        (r#""NAME": "b""#, "$.name"),
        (r#""n\u0061me": null"#, "$.name"),
        (
            r#""http_services": null, "HTTPServices": null"#,
            "$.http_services",
        ),
        (
            r#""source": { "mode": "local_so", "Mode": "local_so", "path": "a.so" }"#,
            "$.source.mode",
        ),
        (
            r#""process": { "exec": "a", "exec": "a" }"#,
            "$.process.exec",
        ),
        (
            r#""http_services": { "routes": [], "ROUTES": [] }"#,
            "$.http_services.routes",
        ),
        (
            r#""http_services": { "routes": [{ "route": "/", "method": "GET", "label": "a", "label": "a" }] }"#,
            "$.http_services.routes[0].label",
        ),
        (
            r#""dependencies": { "a": "1", "a": "1" }"#,
            "$.dependencies.a",
        ),
        (
            r#""dependencies": { "b": { "version": "1", "version": "1" } }"#,
            "$.dependencies.b.version",
        ),
        (
            r#""config_schema": { "a": { "b": 1, "b": 1 } }"#,
            "$.config_schema.a.b",
        ),
        (r#""extra": [0, { "b": 1, "b": 1 }]"#, "$.extra[1].b"),
        (r#""extra": 1, "Extra": 1"#, "$.Extra"),
        (r#""labels": { "b": 1, "b": 1 }"#, "$.labels.b"),
        (
            r#""extra": { "\u001b[2J": 1, "\u001b[2J": 1 }"#,
            "$.extra[`\\u{1b}[2J`]",
        ),
    ] {
        refuse(&with(fields), code::JSON, path);
    }
}

#[test]
fn size_and_depth_are_capped() {
    let mut largest = with(&format!(r#""extra": "{}""#, "x".repeat(MAX_BYTES)));
    refuse(&largest, code::JSON, "$");
    largest = with("\"extra\": 1");
    largest.push_str(&" ".repeat(MAX_BYTES - largest.len()));
    assert!(Manifest::parse(largest.as_bytes()).is_ok());
    largest.push(' ');
    refuse(&largest, code::JSON, "$");

    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = |levels: usize| {
            with(&format!(
                r#""config_schema": {{ "a": {}1{} }}"#,
                open.repeat(levels),
                close.repeat(levels)
            ))
        };
        assert!(Manifest::parse(deep(100).as_bytes()).is_ok());
        refuse(&deep(130), code::JSON, "$");
        refuse(&deep(100_000), code::JSON, "$");
    }
}

#[test]
fn fields_have_the_right_type_and_harmless_text() {
    for (text, path) in [
        ("[]", "$"),
        ("null", "$"),
        ("3", "$"),
        (r#"{ "name": "a b", "version": "1.0.0" }"#, "$.name"),
    ] {
        refuse(text, code::FIELD, path);
    }
    for name in [
        "",
        "A",
        "1a",
        "-a",
        "a_b",
        "../a",
        "a\\u0000",
        "a\\n",
        "<script>",
        "é",
        &"a".repeat(65),
    ] {
        refuse(
            &format!(r#"{{ "name": "{name}", "version": "1.0.0" }}"#),
            code::FIELD,
            "$.name",
        );
    }
    let long = "x".repeat(4097);
    for text in [
        "\\u0000",
        "a\\nb",
        "\\u001b[31m",
        "\\u009b31m",
        "\\u202eevil",
        "\\u2028",
        &long,
    ] {
        refuse(
            &with(&format!(r#""description": "{text}""#)),
            code::FIELD,
            "$.description",
        );
        refuse(
            &with(&format!(r#""home": "{text}""#)),
            code::FIELD,
            "$.home",
        );
    }
    // Markup is no control sequence: pages escape it.
    assert_eq!(
        clean(&with(r#""description": "<script>""#))
            .description
            .unwrap(),
        "<script>"
    );
    for (fields, path) in [
        (r#""format": 0"#, "$.format"),
        (r#""format": "1""#, "$.format"),
        (r#""format": 1.5"#, "$.format"),
        (r#""format": -1"#, "$.format"),
        (r#""config_schema": true"#, "$.config_schema"),
        (r#""source": "a.so""#, "$.source"),
        (
            r#""source": { "mode": "LOCAL_SO", "path": "a.so" }"#,
            "$.source.mode",
        ),
        (r#""permissions": { "network": true }"#, "$.permissions"),
        (r#""isolation": { "level": "none" }"#, "$.isolation"),
        (
            r#""process": { "exec": "a", "idle_timeout": "0s" }"#,
            "$.process.idle_timeout",
        ),
        (
            r#""process": { "exec": "a", "idle_timeout": "31d" }"#,
            "$.process.idle_timeout",
        ),
        (
            r#""process": { "exec": "a", "idle_timeout": "99999999999999999999h" }"#,
            "$.process.idle_timeout",
        ),
        (
            r#""process": { "exec": "a", "idle_timeout": 30 }"#,
            "$.process.idle_timeout",
        ),
        (
            r#""process": { "exec": "a", "args": ["a\u0000b"] }"#,
            "$.process.args[0]",
        ),
    ] {
        refuse(&with(fields), code::FIELD, path);
    }
    let many = vec!["\"a\""; 1025].join(",");
    refuse(
        &with(&format!(r#""maintainers": [{many}]"#)),
        code::FIELD,
        "$.maintainers",
    );
}

#[test]
fn a_newer_format_is_not_judged_by_old_rules() {
    let error =
        Manifest::parse(br#"{ "format": 2, "name": { "en": "a" }, "source": { "kind": 1 } }"#)
            .unwrap_err();
    let [problem] = error.problems() else {
        panic!("{error}")
    };
    assert_eq!(
        (problem.code, problem.path.as_str()),
        (code::FIELD, "$.format")
    );
    assert!(problem.message.contains("upgrade plg"), "{problem}");
}

#[test]
fn required_fields_are_asked_for() {
    for (text, path) in [
        ("{}", "$.name"),
        (r#"{ "name": null, "version": "1.0.0" }"#, "$.name"),
        (r#"{ "name": "a" }"#, "$.version"),
        (&with(r#""source": {}"#), "$.source.mode"),
        (
            &with(r#""source": { "mode": "remote_git" }"#),
            "$.source.path",
        ),
        (
            &with(r#""http_services": { "driver": "beego" }"#),
            "$.http_services.routes",
        ),
        (
            &with(r#""http_services": { "routes": [{}] }"#),
            "$.http_services.routes[0].route",
        ),
        (&with(r#""process": { "args": [] }"#), "$.process.exec"),
        (
            &with(r#""dependencies": { "b": {} }"#),
            "$.dependencies.b.version",
        ),
    ] {
        refuse(text, code::MISSING_FIELD, path);
    }
}

#[test]
fn unknown_fields_fail_where_security_depends_on_them_and_warn_elsewhere() {
    refuse(
        &with(r#""source": { "mode": "local_so", "path": "a.so", "sha": 1 }"#),
        code::UNKNOWN_FIELD,
        "$.source.sha",
    );
    refuse(
        &with(r#""process": { "exec": "a", "user": "root" }"#),
        code::UNKNOWN_FIELD,
        "$.process.user",
    );
    for (fields, path, hint) in [
        (r#""extra": { "a": [1] }"#, "$.extra", "ignored"),
        (r#""permission": []"#, "$.permission", "`permissions`"),
        (
            r#""http_services": { "routes": [], "port": 80 }"#,
            "$.http_services.port",
            "ignored",
        ),
        (
            r#""http_services": { "routes": [{ "route": "/", "method": "GET", "lable": 1, "label": "a" }] }"#,
            "$.http_services.routes[0].lable",
            "`label`",
        ),
        (
            r#""dependencies": { "b": { "version": "1", "from": "x" } }"#,
            "$.dependencies.b.from",
            "ignored",
        ),
    ] {
        let warning = single_warning(&with(fields));
        assert_eq!(
            (warning.code, warning.path.as_str()),
            (code::UNKNOWN_FIELD, path)
        );
        assert!(warning.message.contains(hint), "{warning}");
    }
}

#[test]
fn versions_are_read_as_go_plugins_write_them() {
    let versioned = |version: &str| format!(r#"{{ "name": "a", "version": "{version}" }}"#);
    for (loose, strict) in [
        ("v1", "1.0.0"),
        ("1.0", "1.0.0"),
        ("1.2", "1.2.0"),
        ("v1.2.3", "1.2.3"),
        ("01.2.3", "1.2.3"),
        ("01.0.0-007.x+b.01", "1.0.0-7.x+b.01"),
        ("1-0", "1.0.0-0"),
    ] {
        let text = versioned(loose);
        let warning = single_warning(&text);
        assert_eq!(
            (warning.code, warning.path.as_str()),
            (code::VERSION, "$.version"),
            "{loose}"
        );
        assert!(warning.message.contains(strict), "{warning}");
        assert_eq!(
            Manifest::parse(text.as_bytes())
                .unwrap()
                .manifest
                .version
                .to_string(),
            strict
        );
    }
    for junk in [
        "",
        "v",
        "vv1",
        "V1",
        "1.",
        ".1",
        "1..2",
        "1.2.3.4",
        "1.2.3-",
        "1.2.3+",
        "1.0-a..b",
        "latest",
        " 1.0.0",
        "1.0.0\\n",
        "99999999999999999999.0.0",
        "1.99999999999999999999",
        "+1",
        "1.-2",
        "1.0.0-\\u00e9",
        &format!("1.0.0-{}", "a".repeat(123)),
    ] {
        refuse(&versioned(junk), code::VERSION, "$.version");
    }
    let [one, two] = ["1.0.0+a", "1.0.0+b"].map(|version| clean(&versioned(version)).version);
    assert_ne!(one, two);
    assert!(precedence(&one, &two).is_eq());
    refuse(&with(r#""api": "one""#), code::VERSION, "$.api");
    refuse(&with(r#""api": """#), code::VERSION, "$.api");
}

#[test]
fn paths_stay_inside_the_plugin() {
    for path in [
        "",
        "/a.so",
        "//a.so",
        "../a.so",
        "a/../../b.so",
        "a/..",
        "a\\\\b.so",
        "..\\\\a.so",
        "C:/a.so",
        "C:a.so",
        "a\\u0000.so",
        "a\\n.so",
        "a//b.so",
        "a/",
        ".so",
        "lib/.so",
        "sample",
        "sample.so.1",
        "sample.SO",
        "sample.txt",
    ] {
        let fields = format!(r#""source": {{ "mode": "local_so", "path": "{path}" }}"#);
        refuse(&with(&fields), code::PATH, "$.source.path");
    }
    for path in [
        "a.so",
        "./a.so",
        "lib/a.dylib",
        "lib/x y.dll",
        "..a.so",
        "é.so",
    ] {
        clean(&with(&format!(
            r#""source": {{ "mode": "local_so", "path": "{path}" }}"#
        )));
    }
    for url in [
        "",
        "a.so",
        "/srv/repo",
        "ext::sh -c id",
        "--upload-pack=id",
        "https://",
        "https://a b",
        "ssh://-oProxyCommand=id/x",
        "-a@b:c",
        "a@-b:c",
        "a@b:",
        "a@b::c",
        "ext://x",
        "https://x\\u0000",
    ] {
        let fields = format!(r#""source": {{ "mode": "remote_git", "path": "{url}" }}"#);
        refuse(&with(&fields), code::PATH, "$.source.path");
    }
    for exec in ["", "/bin/sh", "../sh", "a\\\\b"] {
        refuse(
            &with(&format!(r#""process": {{ "exec": "{exec}" }}"#)),
            code::PATH,
            "$.process.exec",
        );
    }
}

#[test]
fn labels_are_plain_and_listed_once() {
    for label in ["", "a b", "a\\u0000", "ü", "a\\\\b", "a?", &"a".repeat(129)] {
        refuse(
            &with(&format!(r#""labels": ["ok", "{label}"]"#)),
            code::LABEL,
            "$.labels[1]",
        );
        refuse(
            &with(&route("/", "GET", label)),
            code::LABEL,
            "$.http_services.routes[0].label",
        );
    }
    refuse(
        &with(r#""labels": ["a", "b", "a"]"#),
        code::LABEL,
        "$.labels[2]",
    );
    clean(&with(r#""labels": ["plugin.get", "A/b:c-d_e"]"#));
    let warning = single_warning(&with(&format!(
        r#""labels": ["b"], {}"#,
        route("/", "GET", "a")
    )));
    assert_eq!(
        (warning.code, warning.path.as_str()),
        (code::LABEL, "$.http_services.routes[0].label")
    );
}

#[test]
fn routes_do_not_clash_and_can_be_served() {
    for pattern in [
        "",
        "api",
        "/..",
        "/a/../b",
        "/./a",
        "//",
        "/a/",
        "/a//b",
        "/:",
        "/:1",
        "/:a-b",
        "/a:b",
        "/:id/:id",
        "/a/:id/b/:id",
        "/%2e%2e",
        "/{id}",
        "/*",
        "/a?b",
        "/a#b",
        "/a b",
        "/ü",
        "/a\\u0000",
        "/a\\\\b",
    ] {
        refuse(
            &with(&route(pattern, "GET", "a")),
            code::ROUTE_CONFLICT,
            "$.http_services.routes[0].route",
        );
    }
    let crowded: String = (0..17).map(|n| format!("/:p{n}")).collect();
    refuse(
        &with(&route(&crowded, "GET", "a")),
        code::ROUTE_CONFLICT,
        "$.http_services.routes[0].route",
    );
    clean(&with(&route(&crowded[..crowded.len() - 5], "GET", "a")));
    for method in ["", "GRAB", "GET ", "CONNECT", "TRACE", "G\\u0000"] {
        refuse(
            &with(&route("/", method, "a")),
            code::ROUTE_CONFLICT,
            "$.http_services.routes[0].method",
        );
    }
    let twice = |first: (&str, &str), second: (&str, &str)| {
        let [first, second] = [first, second].map(|(method, route)| {
            format!(r#"{{ "method": "{method}", "route": "{route}", "label": "a" }}"#)
        });
        with(&format!(
            r#""http_services": {{ "routes": [{first}, {second}] }}"#
        ))
    };
    for (first, second) in [
        (("GET", "/a"), ("GET", "/a")),
        (("GET", "/a"), ("get", "/a")),
        (("GET", "/a/:a"), ("GET", "/a/:b")),
        (("GET", "/:a/x/:b"), ("GET", "/:b/x/:a")),
    ] {
        refuse(
            &twice(first, second),
            code::ROUTE_CONFLICT,
            "$.http_services.routes[1].route",
        );
    }
    for (first, second) in [
        (("GET", "/a"), ("POST", "/a")),
        (("GET", "/a/:a"), ("GET", "/a/a")),
        (("GET", "/a"), ("GET", "/A")),
        (("GET", "/"), ("GET", "/a")),
    ] {
        clean(&twice(first, second));
    }
}

#[test]
fn dependencies_name_other_plugins_and_versions() {
    for (entry, path) in [
        (r#""a": "1""#, "$.dependencies.a"),
        (r#""B": "1""#, "$.dependencies.B"),
        (r#""b c": "1""#, "$.dependencies[`b c`]"),
        (r#""b": "one""#, "$.dependencies.b"),
        (r#""b": """#, "$.dependencies.b"),
        (r#""b": { "version": "~>1" }"#, "$.dependencies.b.version"),
        (r#""b": "99999999999999999999""#, "$.dependencies.b"),
    ] {
        refuse(
            &with(&format!(r#""dependencies": {{ {entry} }}"#)),
            code::DEPENDENCY,
            path,
        );
    }
    let many: Vec<String> = (0..1025).map(|n| format!(r#""b{n}": "1""#)).collect();
    let fields = format!(r#""dependencies": {{ {} }}"#, many.join(","));
    refuse(&with(&fields), code::FIELD, "$.dependencies");
    refuse(
        &with(r#""dependencies": { "b": 1 }"#),
        code::FIELD,
        "$.dependencies.b",
    );
    refuse(
        &with(r#""dependencies": ["b"]"#),
        code::FIELD,
        "$.dependencies",
    );
}

#[test]
fn the_directory_has_the_name_of_the_plugin() {
    let manifest = clean(SAMPLE);
    let problem = manifest.check_identity("sam\u{1b}ple").unwrap_err();
    assert_eq!(
        (problem.code, problem.path.as_str()),
        (code::IDENTITY, "$.name")
    );
    assert!(problem.message.contains(r"`sam\u{1b}ple`"), "{problem}");
}

#[test]
fn keys_are_matched_in_any_case() {
    let text = r#"{ "Name": "a", "VERSION": "1.0.0", "HTTPServices": { "Routes": [
        { "ROUTE": "/", "Method": "GET", "Label": "a" }
    ] }, "Source": { "Mode": "local_so", "Path": "a.so" }, "description": null, "labels": null, "source_": 0 }"#;
    let parsed = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.manifest.http_services.unwrap().routes.len(), 1);
    assert!(parsed.manifest.source.is_some());
    assert_eq!(parsed.warnings.len(), 1);
}

/// A file full of mistakes must neither fill the memory nor the screen.
#[test]
fn reports_stay_small() {
    let key = "k".repeat(200_000);
    let twins = r#""a": 1, "#.repeat(50_000);
    let text = with(&format!(r#""{key}": {{ {twins} "z": 1 }}"#));
    let error = Manifest::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.problems().len(), 100);
    let shown = error.to_string();
    assert!(shown.len() < 40_000, "{} bytes", shown.len());
    assert!(
        shown.ends_with("and 49899 more problems"),
        "{}",
        &shown[shown.len() - 40..]
    );

    let strays: Vec<String> = (0..50_000).map(|n| format!(r#""x{n}": 1"#)).collect();
    assert_eq!(
        Manifest::parse(with(&strays.join(",")).as_bytes())
            .unwrap()
            .warnings
            .len(),
        100
    );
}

/// Whatever fills a whole megabyte is answered in a fraction of a second, unoptimised code included.
#[test]
fn hostile_megabytes_are_read_in_linear_time() {
    let routes = format!(
        r#"{{ "route": "/{}", "method": "GET", "label": "a" }}"#,
        ":a/".repeat(150)
    );
    for fields in [
        format!(r#""extra": [{}0]"#, "[],".repeat(300_000)),
        format!(r#""extra": {{ {} "z": 1 }}"#, r#""a": 1, "#.repeat(120_000)),
        (0..70_000)
            .map(|n| format!(r#""x{n}": 1"#))
            .collect::<Vec<_>>()
            .join(","),
        (0..70_000)
            .map(|_| r#""labe": 1"#)
            .collect::<Vec<_>>()
            .join(","),
        format!(
            r#""dependencies": {{ {} "b": "1" }}"#,
            r#""b": "1", "#.repeat(90_000)
        ),
        format!(r#""labels": [{}"a"]"#, r#""a b","#.repeat(150_000)),
        format!(
            r#""http_services": {{ "routes": [{}] }}"#,
            vec![routes; 1024].join(",")
        ),
        format!(
            r#""process": {{ "exec": "a", "idle_timeout": "{}" }}"#,
            "1ms".repeat(300_000)
        ),
        format!(
            r#""source": {{ "mode": "local_so", "path": "{}a.so" }}"#,
            "a/".repeat(400_000)
        ),
        format!(r#""api": "{}1""#, "1,".repeat(400_000)),
    ] {
        let text = with(&fields);
        assert!(text.len() <= MAX_BYTES);
        // What is not linear takes minutes.
        let quick = (0..3).any(|_| {
            let started = Instant::now();
            let _ = Manifest::parse(text.as_bytes());
            started.elapsed() < Duration::from_secs(5)
        });
        assert!(quick, "{}", &text[..80]);
    }
}

/// Mutations of good manifests: whatever comes in, an answer comes out, and soon. Deterministic, so a failure repeats.
#[test]
fn mutated_manifests_never_panic_and_never_hang() {
    const TOKENS: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\ud800",
        "\\u0000",
        "null",
        "-1e308",
        "\"name\":",
        "\"version\":",
        "/:id",
        "..",
        "[[[[",
    ];
    let seeds = [GO_PLUGIN, SAMPLE, FULL].map(str::as_bytes);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit.max(1) as u64) as usize
    };
    let mut accepted = 0;
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            match below(6) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = below(256) as u8,
                2 => drop(bytes.drain(at..(at + below(24)).min(bytes.len()))),
                3 => bytes.truncate(at + 1),
                4 => drop(bytes.splice(at..at, TOKENS[below(TOKENS.len())].bytes())),
                _ => {
                    let copied = bytes[at..(at + below(64)).min(bytes.len())].to_vec();
                    let to = below(bytes.len());
                    drop(bytes.splice(to..to, copied));
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        let result = Manifest::parse(&bytes);
        // A busy machine may stop any one run; a slow parser is slow every time.
        let quick = (0..5).any(|_| {
            let started = Instant::now();
            let _ = Manifest::parse(&bytes);
            started.elapsed() < Duration::from_millis(50)
        });
        assert!(quick, "{:?}", String::from_utf8_lossy(&bytes));
        match result {
            Ok(parsed) => {
                accepted += 1;
                let again = Manifest::parse(parsed.manifest.to_json().as_bytes()).unwrap();
                assert_eq!(again.manifest, parsed.manifest);
            }
            Err(error) => {
                assert!(!error.problems().is_empty());
                assert!(
                    !error
                        .to_string()
                        .contains(|c: char| c.is_control() && c != '\n'),
                    "{error:?}"
                );
            }
        }
    }
    // Mutants that all fail at the first byte would test nothing.
    assert!((1000..19_000).contains(&accepted), "{accepted} accepted");
}

#[track_caller]
fn clean(text: &str) -> Manifest {
    let parsed = Manifest::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(parsed.warnings, [], "{text}");
    parsed.manifest
}

#[track_caller]
fn refuse(text: &str, code: &str, path: &str) {
    let start = &text[..text.len().min(400)];
    let error = Manifest::parse(text.as_bytes()).expect_err(start);
    assert_eq!(error.code(), code, "{error}\n{start}");
    assert!(
        error
            .problems()
            .iter()
            .any(|p| p.code == code && p.path == path),
        "{path}: {error}\n{start}"
    );
}

#[track_caller]
fn single_warning(text: &str) -> Problem {
    let mut warnings = Manifest::parse(text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}\n{text}");
    warnings.remove(0)
}

/// A manifest of plugin `a` with further fields.
fn with(fields: &str) -> String {
    format!(r#"{{ "name": "a", "version": "1.0.0", {fields} }}"#)
}

fn route(pattern: &str, method: &str, label: &str) -> String {
    format!(
        r#""http_services": {{ "routes": [{{ "route": "{pattern}", "method": "{method}", "label": "{label}" }}] }}"#
    )
}
