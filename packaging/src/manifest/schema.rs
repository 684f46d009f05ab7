//! The JSON Schema of `plugin.json`, for editors and other tools.
//!
//! It describes the canonical spelling. What is also accepted, such as keys in other cases, is left out on purpose:
//! an editor should not suggest it. Whatever the schema accepts may still break a rule that no schema can state.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

use super::model::{Dependency, Manifest};

/// The schema of `plugin.json`, in draft 2020-12.
///
/// ```
/// let schema = plg_packaging::manifest::json_schema();
/// assert_eq!(schema["required"], serde_json::json!(["name", "version"]));
/// ```
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Manifest>();
    // A manifest may name its schema, as editors want it.
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let own = json_schema!({ "description": "Where this schema lies, for editors.", "type": "string" });
        properties.insert("$schema".to_owned(), own.to_value());
    }
    schema.to_value()
}

/// How [`parse_version`](super::parse_version) reads a version.
pub(super) struct LooseVersion;

impl JsonSchema for LooseVersion {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a version, best in strict semver 2 as in `1.2.3`",
            "type": "string",
            "pattern": "^v?[0-9]+(\\.[0-9]+){0,2}(-[0-9A-Za-z-]+(\\.[0-9A-Za-z-]+)*)?(\\+[0-9A-Za-z-]+(\\.[0-9A-Za-z-]+)*)?$",
            "maxLength": 128,
        })
    }
}

/// A semver requirement, whose grammar is left to the reader.
pub(super) struct Requirement;

impl JsonSchema for Requirement {
    fn schema_name() -> Cow<'static, str> {
        "Requirement".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a semver requirement as in `^1.2` or `>=1, <3`",
            "type": "string",
            "minLength": 1,
        })
    }
}

impl JsonSchema for Dependency {
    fn schema_name() -> Cow<'static, str> {
        "Dependency".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let requirement = generator.subschema_for::<Requirement>();
        json_schema!({
            "description": "The versions of a plugin that will do; an object when there is more to say.",
            "anyOf": [
                requirement,
                {
                    "type": "object",
                    "properties": {
                        "version": requirement,
                        "optional": {
                            "description": "Whether the plugin can do without.",
                            "type": "boolean",
                            "default": false,
                        },
                    },
                    "required": ["version"],
                },
            ],
        })
    }
}
