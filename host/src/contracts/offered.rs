//! What a plugin says it offers: contracts by name, each with its types.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::schema::Schema;

/// The contracts that a plugin offers, by name.
pub(crate) type Offered = BTreeMap<String, Vec<Arc<ContractType>>>;

/// One type of a contract that a plugin offers.
///
/// ```
/// use plg_host::ContractType;
/// use serde_json::json;
///
/// let kind = ContractType::new("shout").with_schema(json!({ "required": ["text"] }));
/// assert_eq!(kind.label(), "shout");
/// ```
#[derive(Clone, Debug)]
pub struct ContractType {
    label: String,
    schema: Option<Value>,
    /// The schema ready to be used, or why it cannot be.
    ready: OnceLock<Result<Schema, String>>,
}

impl ContractType {
    /// The type called `label`, without a schema.
    #[must_use]
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            schema: None,
            ready: OnceLock::new(),
        }
    }

    /// What the values of a call must be like. References out of the schema are never followed.
    #[must_use]
    pub fn with_schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self.ready = OnceLock::new();
        self
    }

    /// The plugin's own name for it.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The JSON Schema of the values of a call, if the plugin declares one.
    #[must_use]
    pub fn schema(&self) -> Option<&Value> {
        self.schema.as_ref()
    }

    /// The schema to check with; an error when it is not usable.
    pub(crate) fn checker(&self) -> Option<Result<&Schema, &str>> {
        let schema = self.schema.as_ref()?;
        let ready = self.ready.get_or_init(|| Schema::new(schema));
        Some(ready.as_ref().map_err(String::as_str))
    }
}
