//! What the host was told about the plugins that it starts as programs: their configuration, and how those of the
//! framework are run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use plg_packaging::manifest::{self, Process, SocketKind};
use plg_packaging::{Manifest, PluginName};
use serde_json::{Map, Value};

use super::ContractOptions;
use crate::loader::LoadError;
use crate::schema::Schema;
use crate::transport::process::dialect::Dialect;
use crate::transport::process::dialect::contracts::{self, Contracts, capabilities};
use crate::transport::process::program::Program;
use crate::transport::process::sandbox::Confinement;
use crate::transport::process::{RunRoot, Spawner};

/// What the host was told.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The operator's configuration, by plugin.
    pub(crate) config: BTreeMap<PluginName, Map<String, Value>>,
    /// How plugins of the framework are run.
    pub(crate) options: ContractOptions,
    /// Those that are run in another way.
    found: Mutex<BTreeMap<PluginName, ContractOptions>>,
}

/// A program that is about to be made a plugin.
pub(crate) struct Asked<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) process: &'a Process,
    pub(crate) program: &'a Program,
    pub(crate) path: &'a Path,
    pub(crate) confinement: &'a Confinement,
    pub(crate) root: &'a Arc<RunRoot>,
    pub(crate) spawner: &'a Spawner,
}

impl Settings {
    /// Has a plugin run as `options` say from its next load on.
    pub(crate) fn set(&self, plugin: &PluginName, options: &ContractOptions) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(plugin.clone(), options.clone());
    }

    /// The operator's configuration of a plugin.
    ///
    /// # Errors
    ///
    /// `proc.config_schema` when it does not fit the schema in the manifest.
    pub(crate) fn config(
        &self,
        manifest: &Manifest,
        path: &Path,
    ) -> Result<Map<String, Value>, LoadError> {
        let config = self.config.get(&manifest.name).cloned().unwrap_or_default();
        let Some(schema) = &manifest.config_schema else {
            return Ok(config);
        };
        let refused = |message: String| refused(path, "proc.config_schema", message);
        let schema = Schema::new(&Value::Object(schema.clone()))
            .map_err(|problem| refused(format!("its `config_schema` is not usable: {problem}")))?;
        let config = Value::Object(config);
        schema
            .check(&config)
            .map_err(|misfits| refused(format!("its configuration does not fit: {misfits}")))?;
        match config {
            Value::Object(config) => Ok(config),
            _ => Ok(Map::new()),
        }
    }

    /// How to speak with a program. One of the framework is asked what it offers.
    ///
    /// # Errors
    ///
    /// `contract.capabilities` when it does not say, `contract.config` when it asks for configuration that there is
    /// none of.
    pub(crate) fn dialect(
        &self,
        asked: &Asked<'_>,
        config: &Map<String, Value>,
    ) -> Result<Dialect, LoadError> {
        let (name, process) = (&asked.manifest.name, asked.process);
        if process.dialect != manifest::Dialect::Contracts {
            return Ok(Dialect::Native);
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let options = found.get(name).unwrap_or(&self.options).clone();
        drop(found);
        let limit = options.capabilities_timeout;
        let (program, confinement) = (asked.program, asked.confinement);
        let said = capabilities::ask(program, name, confinement, asked.root, asked.spawner, limit);
        let said = said.map_err(|problem| refused(asked.path, "contract.capabilities", problem))?;
        let config = contracts::config_types(&options, config, &said.config_types);
        let config = config.map_err(|missing| {
            let missing: Vec<String> = missing.iter().map(|kind| format!("`{kind}`")).collect();
            let missing = missing.join(", ");
            let message = format!("it asks for configuration of the types {missing}");
            refused(asked.path, "contract.config", message)
        })?;
        let idle = process.idle_timeout.map(|idle| idle.duration());
        Ok(Dialect::Contracts(Box::new(Contracts {
            tcp: process.transport == Some(SocketKind::Tcp),
            idle: idle.unwrap_or(options.idle_timeout),
            options,
            config,
            offered: said.offered,
            activity: contracts::Activity::default(),
        })))
    }
}

fn refused(path: &Path, code: &'static str, message: String) -> LoadError {
    LoadError::Start {
        path: path.to_owned(),
        code,
        message,
    }
}
