//! What differs between two manifests, and how much that weighs.

use std::collections::BTreeMap;
use std::fmt;

use semver::VersionReq;
use serde::Serialize;
use serde_json::{Map, Value};

use super::requirement::allows_all_of;
use crate::Manifest;
use crate::manifest::{Dependency, HttpRoute};

/// One thing that differs. It prints as a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// What it means for those who rely on the plugin.
    pub weight: Weight,
    /// The part of the manifest.
    pub part: Part,
    /// What is different, in words.
    pub what: String,
}

/// What a difference means for those who rely on the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Nothing.
    Neutral,
    /// There is more to rely on.
    Adding,
    /// What they rely on may be gone.
    Breaking,
}

/// A part of a manifest that others rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// What callers ask for.
    Labels,
    /// What HTTP clients ask for.
    Routes,
    /// The plugins that it calls.
    Dependencies,
    /// What the operator has to grant.
    Permissions,
    /// The hosts that can load it.
    Api,
    /// How its configuration has to look.
    ConfigSchema,
    /// Where and how it runs.
    Running,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Everything that differs, the weightiest first.
pub(super) fn all(old: &Manifest, new: &Manifest) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    found.labels(old, new);
    found.routes(old, new);
    found.dependencies(old, new);
    found.permissions(old, new);
    found.api(old.api.as_ref(), new.api.as_ref());
    found.config(old, new);
    found.running(old, new);
    found
        .0
        .sort_by_key(|difference| std::cmp::Reverse(difference.weight));
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, weight: Weight, part: Part, what: String) {
        self.0.push(Difference { weight, part, what });
    }

    fn labels(&mut self, old: &Manifest, new: &Manifest) {
        for label in old
            .labels
            .iter()
            .filter(|label| !new.labels.contains(label))
        {
            let what = format!("label `{label}` is gone");
            self.add(Weight::Breaking, Part::Labels, what);
        }
        for label in new
            .labels
            .iter()
            .filter(|label| !old.labels.contains(label))
        {
            // One that named no labels before may have answered to this one.
            let what = format!("label `{label}` is new");
            self.add(Weight::Adding, Part::Labels, what);
        }
    }

    fn routes(&mut self, old: &Manifest, new: &Manifest) {
        let (old, new) = (routes(old), routes(new));
        for (key, route) in &old {
            let shown = format!("route `{} {}`", route.method, route.route);
            match new.get(key) {
                None => self.add(Weight::Breaking, Part::Routes, format!("{shown} is gone")),
                Some(other) if other.label != route.label => {
                    let what = format!(
                        "{shown} calls `{}` instead of `{}`",
                        other.label, route.label
                    );
                    self.add(Weight::Neutral, Part::Routes, what);
                }
                Some(other) if other.route != route.route => {
                    let what = format!("{shown} names its parameters otherwise: `{}`", other.route);
                    self.add(Weight::Neutral, Part::Routes, what);
                }
                Some(_) => {}
            }
        }
        for (_, route) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            let what = format!("route `{} {}` is new", route.method, route.route);
            self.add(Weight::Adding, Part::Routes, what);
        }
    }

    fn dependencies(&mut self, old: &Manifest, new: &Manifest) {
        for (name, before) in &old.dependencies {
            let Some(after) = new.dependencies.get(name) else {
                let what = format!("dependency `{name}` is gone");
                self.add(Weight::Neutral, Part::Dependencies, what);
                continue;
            };
            if before.optional && !after.optional {
                let what = format!("dependency `{name}` is not optional any more");
                self.add(Weight::Breaking, Part::Dependencies, what);
            } else if after.optional && !before.optional {
                let what = format!("dependency `{name}` is optional");
                self.add(Weight::Neutral, Part::Dependencies, what);
            }
            if before.version != after.version {
                let what = format!(
                    "dependency `{name}` is `{}` instead of `{}`",
                    after.version, before.version
                );
                let weight = narrowing(&before.version, &after.version);
                self.add(weight, Part::Dependencies, what);
            }
        }
        let is_new = |name| !old.dependencies.contains_key(name);
        for (name, Dependency { optional, .. }) in
            new.dependencies.iter().filter(|(name, _)| is_new(*name))
        {
            let (weight, what) = if *optional {
                (
                    Weight::Adding,
                    format!("optional dependency `{name}` is new"),
                )
            } else {
                (Weight::Breaking, format!("dependency `{name}` is new"))
            };
            self.add(weight, Part::Dependencies, what);
        }
    }

    fn permissions(&mut self, old: &Manifest, new: &Manifest) {
        for asked in new
            .permissions
            .iter()
            .filter(|asked| !old.permissions.contains(asked))
        {
            let what = format!("permission `{asked}` is asked for");
            self.add(Weight::Breaking, Part::Permissions, what);
        }
        for asked in old
            .permissions
            .iter()
            .filter(|asked| !new.permissions.contains(asked))
        {
            let what = format!("permission `{asked}` is not asked for any more");
            self.add(Weight::Neutral, Part::Permissions, what);
        }
    }

    fn api(&mut self, old: Option<&VersionReq>, new: Option<&VersionReq>) {
        if old == new {
            return;
        }
        // One that does not say is taken by every host.
        let any = VersionReq::STAR;
        let (before, after) = (old.unwrap_or(&any), new.unwrap_or(&any));
        let what = format!("plugin interface `{after}` is required instead of `{before}`");
        self.add(narrowing(before, after), Part::Api, what);
    }

    fn config(&mut self, old: &Manifest, new: &Manifest) {
        if old.config_schema == new.config_schema {
            return;
        }
        let (before, after) = (required(&old.config_schema), required(&new.config_schema));
        let mut has_new = false;
        for key in after.iter().filter(|key| !before.contains(key)) {
            has_new = true;
            let what = format!("configuration `{key}` is required");
            self.add(Weight::Breaking, Part::ConfigSchema, what);
        }
        if !has_new {
            let what = "the schema of the configuration is another".to_owned();
            self.add(Weight::Neutral, Part::ConfigSchema, what);
        }
    }

    fn running(&mut self, old: &Manifest, new: &Manifest) {
        // What speaks to the plugin is the host, which reads this from the new manifest.
        if old.process != new.process {
            let what = match (&old.process, &new.process) {
                (None, _) => "it is a program of its own",
                (_, None) => "it is no program of its own any more",
                _ => "its program is started otherwise",
            };
            self.add(Weight::Neutral, Part::Running, what.to_owned());
        }
        if old.isolation != new.isolation {
            let what = "it would like to run elsewhere".to_owned();
            self.add(Weight::Neutral, Part::Running, what);
        }
    }
}

/// The routes by the requests that they answer.
fn routes(manifest: &Manifest) -> BTreeMap<(String, &'static str), &HttpRoute> {
    let routes = manifest.http_services.iter().flat_map(|http| &http.routes);
    routes
        .map(|route| ((route.route.shape(), route.method.as_str()), route))
        .collect()
}

fn narrowing(old: &VersionReq, new: &VersionReq) -> Weight {
    if allows_all_of(new, old) {
        Weight::Neutral
    } else {
        Weight::Breaking
    }
}

/// The keys that a configuration has to have. What else a schema asks for is not understood here.
fn required(schema: &Option<Map<String, Value>>) -> Vec<&str> {
    let required = schema
        .as_ref()
        .and_then(|schema| schema.get("required")?.as_array());
    let keys = required.into_iter().flatten();
    keys.filter_map(Value::as_str).collect()
}
