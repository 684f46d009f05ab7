//! `plugin.json` as it was written: every field with its type checked, and nothing else.

use std::{borrow::Cow, collections::BTreeMap};

use serde::de::MapAccess;
use serde_json::{Map, Value};

use super::{
    json::{Field, Shape},
    key::{Key, Strays, Unknown, read_once},
    problem::Place,
};

pub(super) type RawText<'de> = Cow<'de, str>;
pub(super) type RawList<T> = Vec<Field<T>>;
pub(super) type RawEntries<'de, T> = BTreeMap<Cow<'de, str>, Field<T>>;

/// Declares an object with known keys: the struct, and how it is read.
///
/// Keys are matched without regard to ASCII case; a second spelling may follow the first.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $unknown:ident {
        $($field:ident: $shape:ty = $key:literal $(or $alias:literal)*,)*
    }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'de> {
            $(pub(super) $field: Field<$shape>,)*
        }

        impl<'de> Shape<'de> for $name<'de> {
            const EXPECTED: &'static str = $expected;

            fn from_object<A: MapAccess<'de>>(mut object: A, place: Place<'_>) -> Result<Option<Self>, A::Error> {
                const KNOWN: &[&str] = &[$($key,)*];
                let mut record = Self::default();
                let mut strays = Strays::default();
                while let Some(Key(key)) = object.next_key()? {
                    $(if key.eq_ignore_ascii_case($key) $(|| key.eq_ignore_ascii_case($alias))* {
                        read_once(&mut record.$field, &key, &mut object, place.key($key))?;
                        continue;
                    })*
                    strays.read_past(&key, &mut object, place, KNOWN, Unknown::$unknown)?;
                }
                Ok(Some(record))
            }
        }
    };
}

record! {
    /// The whole document.
    RawManifest, "an object", Warns {
        name: RawText<'de> = "name",
        version: RawText<'de> = "version",
        description: RawText<'de> = "description",
        maintainers: RawList<RawText<'de>> = "maintainers",
        home: RawText<'de> = "home",
        source: RawSource<'de> = "source",
        http_services: RawHttpServices<'de> = "http_services" or "httpservices",
        format: u64 = "format",
        api: RawText<'de> = "api",
        labels: RawList<RawText<'de>> = "labels",
        dependencies: RawEntries<'de, RawDependency<'de>> = "dependencies",
        isolation: RawText<'de> = "isolation",
        process: RawProcess<'de> = "process",
        config_schema: Map<String, Value> = "config_schema",
        permissions: RawList<RawText<'de>> = "permissions",
        schema: Value = "$schema",
    }
}

record! {
    RawSource, "an object with `mode` and `path`", Fails {
        mode: RawText<'de> = "mode",
        path: RawText<'de> = "path",
    }
}

record! {
    RawHttpServices, "an object with `driver` and `routes`", Warns {
        driver: RawText<'de> = "driver",
        routes: RawList<RawRoute<'de>> = "routes",
    }
}

record! {
    RawRoute, "an object with `route`, `method` and `label`", Warns {
        route: RawText<'de> = "route",
        method: RawText<'de> = "method",
        label: RawText<'de> = "label",
    }
}

record! {
    RawProcess, "an object with `exec`", Fails {
        exec: RawText<'de> = "exec",
        args: RawList<RawText<'de>> = "args",
        dialect: RawText<'de> = "dialect",
        transport: RawText<'de> = "transport",
        idle_timeout: RawText<'de> = "idle_timeout",
    }
}

record! {
    RawDetailedDependency, "an object with `version`", Warns {
        version: RawText<'de> = "version",
        optional: bool = "optional",
    }
}

/// A dependency, in either of the two ways of writing one.
pub(super) enum RawDependency<'de> {
    Requirement(RawText<'de>),
    Detailed(RawDetailedDependency<'de>),
}

impl<'de> Shape<'de> for RawDependency<'de> {
    const EXPECTED: &'static str = "a version requirement or an object with `version`";

    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self::Requirement(text))
    }

    fn from_object<A: MapAccess<'de>>(
        object: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        Ok(RawDetailedDependency::from_object(object, place)?.map(Self::Detailed))
    }
}
