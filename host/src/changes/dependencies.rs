//! stub
use crate::discovery::Candidate;
use crate::error::Error;
use crate::inner::Inner;
use crate::plugin::record::Plugin;
use plg_packaging::{Manifest, PluginName};
use std::sync::Arc;
impl Inner {
    pub(crate) fn plan<'a>(&self, c: &'a [Candidate]) -> (Vec<&'a Candidate>, Vec<Error>) {
        (c.iter().collect(), vec![])
    }
    pub(crate) fn check_dependencies(&self, _m: &Manifest) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn check_replacement(&self, _m: &[&Manifest]) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn check_unload(&self, _m: &PluginName) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn dependants(&self, _m: &PluginName) -> Vec<PluginName> {
        vec![]
    }
    pub(crate) fn order_of(&self, m: &[&Manifest]) -> Result<Vec<PluginName>, Error> {
        Ok(m.iter().map(|m| m.name.clone()).collect())
    }
    pub(crate) fn in_unload_order(&self) -> Vec<Arc<Plugin>> {
        self.catalog.all()
    }
}
