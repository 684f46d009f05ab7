//! The rules: raw fields in, checked values out. A field that breaks a rule is reported and left out, and the checking
//! goes on.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    hash::Hash,
    str::FromStr,
};

use semver::{Version, VersionReq};

use super::{
    json::Field,
    model::{Dependency, Format, FormatError, Manifest},
    problem::{Place, Problem, code},
    process::{Dialect, Process},
    raw::{
        RawDependency, RawEntries, RawHttpServices, RawList, RawManifest, RawProcess, RawRoute,
        RawSource, RawText,
    },
    route::{HttpRoute, HttpServices},
    source::Source,
    version::parse_version,
};
use crate::{
    name::{Label, PluginName},
    text::Quoted,
};

/// More items than this are a mistake or an attack; every list that a plugin can make the host walk has this cap.
const MAX_ITEMS: usize = 1024;

/// The problem of a document whose format is too new to be judged any further.
pub(super) fn unreadable_format(raw: &RawManifest<'_>, place: Place<'_>) -> Option<Problem> {
    let Field::Is(number) = raw.format else {
        return None;
    };
    match Format::readable(number) {
        Err(error @ FormatError::TooNew { .. }) => {
            Some(place.key("format").problem(code::FIELD, error))
        }
        Ok(_) | Err(FormatError::Zero) => None,
    }
}

/// Checks the whole document. `None` comes with an error in the report; so may a manifest.
pub(super) fn manifest(raw: RawManifest<'_>, place: Place<'_>) -> Option<Manifest> {
    let name: Option<PluginName> = required(raw.name, place.key("name"), code::FIELD);
    let version = version(raw.version, place.key("version"));
    let format = match raw.format {
        Field::Is(number) => accepted(Format::readable(number), place.key("format"), code::FIELD),
        _ => None,
    };
    let checked = Manifest {
        format: format.unwrap_or_default(),
        description: optional(raw.description, place.key("description"), code::FIELD),
        maintainers: list(raw.maintainers, place.key("maintainers"), code::FIELD),
        home: optional(raw.home, place.key("home"), code::FIELD),
        source: nested(raw.source, place.key("source"), source),
        http_services: nested(raw.http_services, place.key("http_services"), http_services),
        api: nested(raw.api, place.key("api"), |text, place| {
            requirement(&text, place, code::VERSION)
        }),
        labels: distinct(raw.labels, place.key("labels"), code::LABEL),
        dependencies: dependencies(raw.dependencies, name.as_ref(), place.key("dependencies")),
        isolation: optional(raw.isolation, place.key("isolation"), code::FIELD),
        process: nested(raw.process, place.key("process"), process),
        config_schema: match raw.config_schema {
            Field::Is(schema) => Some(schema),
            _ => None,
        },
        permissions: distinct(raw.permissions, place.key("permissions"), code::FIELD),
        // Evaluated last, so that a missing name does not hide what is wrong with the rest.
        ..Manifest::minimal(name?, version?)
    };
    undeclared_labels(&checked, place);
    Some(checked)
}

fn version(field: Field<RawText<'_>>, place: Place<'_>) -> Option<Version> {
    let text = present(field, place)?;
    let (version, rewritten) = accepted(parse_version(&text), place, code::VERSION)?;
    if rewritten {
        place.warn(
            code::VERSION,
            format_args!("{} is not semver 2, read as `{version}`", Quoted(&text)),
        );
    }
    Some(version)
}

fn source(raw: RawSource<'_>, place: Place<'_>) -> Option<Source> {
    let mode = present(raw.mode, place.key("mode"));
    let path = present(raw.path, place.key("path"));
    match &*mode? {
        "local_so" => Some(Source::LocalSo {
            path: accepted(path?.parse(), place.key("path"), code::PATH)?,
        }),
        "remote_git" => Some(Source::RemoteGit {
            url: accepted(path?.parse(), place.key("path"), code::PATH)?,
        }),
        other => {
            let message = format_args!(
                "mode {} is unknown, expected `local_so` or `remote_git`",
                Quoted(other)
            );
            place.key("mode").error(code::FIELD, message);
            None
        }
    }
}

fn http_services(raw: RawHttpServices<'_>, place: Place<'_>) -> Option<HttpServices> {
    let driver = optional(raw.driver, place.key("driver"), code::FIELD);
    let place = place.key("routes");
    let items = capped(present(raw.routes, place)?, place)?;
    let mut routes = Vec::with_capacity(items.len());
    let mut claimed = HashSet::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let place = place.index(index);
        let Field::Is(raw) = item else { continue };
        let Some(found) = route(raw, place) else {
            continue;
        };
        if !claimed.insert((found.method, found.route.shape())) {
            let message = format_args!(
                "{} `{}` is claimed by an earlier route",
                found.method, found.route
            );
            place.key("route").error(code::ROUTE_CONFLICT, message);
        }
        routes.push(found);
    }
    Some(HttpServices { driver, routes })
}

fn route(raw: RawRoute<'_>, place: Place<'_>) -> Option<HttpRoute> {
    let route = required(raw.route, place.key("route"), code::ROUTE_CONFLICT);
    let method = required(raw.method, place.key("method"), code::ROUTE_CONFLICT);
    let label = required(raw.label, place.key("label"), code::LABEL);
    Some(HttpRoute {
        route: route?,
        method: method?,
        label: label?,
    })
}

fn process(raw: RawProcess<'_>, place: Place<'_>) -> Option<Process> {
    let exec = required(raw.exec, place.key("exec"), code::PATH);
    let args = list(raw.args, place.key("args"), code::FIELD);
    let dialect: Option<Dialect> = optional(raw.dialect, place.key("dialect"), code::FIELD);
    let transport = optional(raw.transport, place.key("transport"), code::FIELD);
    let idle_timeout = optional(raw.idle_timeout, place.key("idle_timeout"), code::FIELD);
    Some(Process {
        exec: exec?,
        args,
        dialect: dialect.unwrap_or_default(),
        transport,
        idle_timeout,
    })
}

fn dependencies(
    field: Field<RawEntries<'_, RawDependency<'_>>>,
    own_name: Option<&PluginName>,
    place: Place<'_>,
) -> BTreeMap<PluginName, Dependency> {
    let mut checked = BTreeMap::new();
    let Field::Is(entries) = field else {
        return checked;
    };
    if entries.len() > MAX_ITEMS {
        too_many(entries.len(), place);
        return checked;
    }
    for (key, value) in entries {
        let place = place.key(&key);
        let name: Option<PluginName> = accepted(key.parse(), place, code::DEPENDENCY);
        if name.is_some() && name.as_ref() == own_name {
            place.error(code::DEPENDENCY, "a plugin cannot depend on itself");
        }
        let dependency = match value {
            Field::Is(raw) => dependency(raw, place),
            _ => None,
        };
        if let (Some(name), Some(dependency)) = (name, dependency) {
            checked.insert(name, dependency);
        }
    }
    checked
}

fn dependency(raw: RawDependency<'_>, place: Place<'_>) -> Option<Dependency> {
    match raw {
        RawDependency::Requirement(text) => Some(Dependency::new(
            requirement(&text, place, code::DEPENDENCY)?,
            false,
        )),
        RawDependency::Detailed(raw) => {
            let version = present(raw.version, place.key("version"))?;
            let version = requirement(&version, place.key("version"), code::DEPENDENCY)?;
            Some(Dependency::new(
                version,
                matches!(raw.optional, Field::Is(true)),
            ))
        }
    }
}

fn requirement(text: &str, place: Place<'_>, code: &'static str) -> Option<VersionReq> {
    let parsed =
        VersionReq::parse(text).map_err(|error| format!("requirement {}: {error}", Quoted(text)));
    accepted(parsed, place, code)
}

/// A plugin that lists its labels and then routes to another one has most likely misspelt one of the two.
fn undeclared_labels(manifest: &Manifest, place: Place<'_>) {
    let (false, Some(services)) = (manifest.labels.is_empty(), &manifest.http_services) else {
        return;
    };
    let declared: HashSet<&Label> = manifest.labels.iter().collect();
    let place = place.key("http_services");
    let place = place.key("routes");
    for (index, route) in services.routes.iter().enumerate() {
        if !declared.contains(&route.label) {
            let message =
                format_args!("label `{}` is not among the plugin's `labels`", route.label);
            place.index(index).key("label").warn(code::LABEL, message);
        }
    }
}

/// The value of a field that has to be there.
fn present<T>(field: Field<T>, place: Place<'_>) -> Option<T> {
    match field {
        Field::Is(value) => Some(value),
        Field::Wrong => None,
        Field::Absent | Field::Null => {
            place.error(code::MISSING_FIELD, "required field is missing");
            None
        }
    }
}

fn required<T>(field: Field<RawText<'_>>, place: Place<'_>, code: &'static str) -> Option<T>
where
    T: FromStr<Err: fmt::Display>,
{
    accepted(present(field, place)?.parse(), place, code)
}

fn optional<T>(field: Field<RawText<'_>>, place: Place<'_>, code: &'static str) -> Option<T>
where
    T: FromStr<Err: fmt::Display>,
{
    match field {
        Field::Is(text) => accepted(text.parse(), place, code),
        _ => None,
    }
}

fn nested<R, T>(
    field: Field<R>,
    place: Place<'_>,
    check: fn(R, Place<'_>) -> Option<T>,
) -> Option<T> {
    match field {
        Field::Is(raw) => check(raw, place),
        _ => None,
    }
}

/// The items of a list that are what they should be.
fn list<T>(field: Field<RawList<RawText<'_>>>, place: Place<'_>, code: &'static str) -> Vec<T>
where
    T: FromStr<Err: fmt::Display>,
{
    items(field, place, code).map(|(_, item)| item).collect()
}

/// Like [`list`], where saying something twice is a mistake.
fn distinct<T>(field: Field<RawList<RawText<'_>>>, place: Place<'_>, code: &'static str) -> Vec<T>
where
    T: FromStr<Err: fmt::Display> + Clone + Eq + Hash + fmt::Display,
{
    let mut seen = HashSet::new();
    let mut checked = Vec::new();
    for (index, item) in items::<T>(field, place, code) {
        if seen.insert(item.clone()) {
            checked.push(item);
        } else {
            place
                .index(index)
                .error(code, format_args!("`{item}` is listed twice"));
        }
    }
    checked
}

/// The good items of a list with their positions; the others are reported on the way.
fn items<'a, T>(
    field: Field<RawList<RawText<'a>>>,
    place: Place<'a>,
    code: &'static str,
) -> impl Iterator<Item = (usize, T)>
where
    T: FromStr<Err: fmt::Display>,
{
    let items = match field {
        Field::Is(items) => capped(items, place).unwrap_or_default(),
        _ => Vec::new(),
    };
    items
        .into_iter()
        .enumerate()
        .filter_map(move |(index, item)| match item {
            Field::Is(text) => Some((index, accepted(text.parse(), place.index(index), code)?)),
            _ => None,
        })
}

fn capped<T>(items: Vec<T>, place: Place<'_>) -> Option<Vec<T>> {
    if items.len() > MAX_ITEMS {
        too_many(items.len(), place);
        return None;
    }
    Some(items)
}

fn too_many(count: usize, place: Place<'_>) {
    place.error(
        code::FIELD,
        format_args!("has {count} items, at most {MAX_ITEMS} are allowed"),
    );
}

fn accepted<T>(
    result: Result<T, impl fmt::Display>,
    place: Place<'_>,
    code: &'static str,
) -> Option<T> {
    result.map_err(|error| place.error(code, error)).ok()
}
