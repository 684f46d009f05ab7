//! Who offers a contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ContractError, ContractType};
use crate::context::{Context, json};
use crate::error::Error;
use crate::host::Host;
use crate::plugin::Handle;
use crate::transport::Transport;

/// A contract, and everybody who offers it: first what is compiled into the app, then by name.
#[derive(Clone, Debug)]
pub struct Contract {
    name: String,
    offers: Vec<Offer>,
    /// The contracts that are offered, for who asked for another.
    known: Vec<String>,
}

/// A plugin that offers a contract, as it was when it was looked up.
#[derive(Clone, Debug)]
pub struct Offer {
    handle: Handle,
    is_builtin: bool,
    types: Vec<Arc<ContractType>>,
}

impl Host {
    /// Looks up who offers a contract. Several may, under different types or the same.
    ///
    /// ```no_run
    /// use plg_host::{Context, Host};
    ///
    /// let host = Host::builder().contract_dir("plugins", Default::default()).build()?;
    /// host.load_all()?;
    /// let processor = host.contract("dataProcessor");
    /// let mut ctx = Context::new().with("data", "aGVsbG8=").with("format", "text");
    /// processor.of_type("simple-text-processor")?.call("simple-text-processor", "process", &mut ctx)?;
    /// # Ok::<(), plg_host::Error>(())
    /// ```
    #[must_use]
    pub fn contract(&self, name: &str) -> Contract {
        let (mut offers, mut known) = (Vec::new(), BTreeSet::new());
        for plugin in self.inner.catalog.all() {
            let Some(generation) = plugin.current() else {
                continue;
            };
            let Some(offered) = generation.transport.offered() else {
                continue;
            };
            known.extend(offered.keys().cloned());
            if let Some(types) = offered.get(name) {
                offers.push(Offer {
                    is_builtin: matches!(generation.transport, Transport::Builtin(_)),
                    types: types.clone(),
                    handle: Handle::new(plugin),
                });
            }
        }
        // The order by name stays among equals.
        offers.sort_by_key(|offer| !offer.is_builtin);
        Contract {
            name: name.to_owned(),
            offers,
            known: known.into_iter().collect(),
        }
    }
}

impl Contract {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everybody who offers it.
    #[must_use]
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// The one who offers it: what is compiled into the app wins over the others.
    ///
    /// # Errors
    ///
    /// `contract.not_found` when nobody does, `contract.ambiguous` when it could be several, with their names.
    pub fn one(&self) -> Result<&Offer, Error> {
        let offers: Vec<&Offer> = self.offers.iter().collect();
        pick(&self.name, &offers)?.ok_or_else(|| self.not_found())
    }

    /// The one who offers a type of it: what is compiled into the app wins over the others.
    ///
    /// # Errors
    ///
    /// `contract.not_found` when nobody offers the contract, `contract.type` when nobody offers that type of it,
    /// `contract.ambiguous` when it could be several.
    pub fn of_type(&self, kind: &str) -> Result<&Offer, Error> {
        let has = |offer: &&Offer| offer.types().any(|known| known.label() == kind);
        let offers: Vec<&Offer> = self.offers.iter().filter(has).collect();
        let what = format!("{}/{kind}", self.name);
        pick(&what, &offers)?.ok_or_else(|| {
            if self.offers.is_empty() {
                return self.not_found();
            }
            let known = self.offers.iter().flat_map(Offer::types);
            let known: BTreeSet<_> = known.map(|kind| kind.label().to_owned()).collect();
            ContractError::NoType {
                contract: self.name.clone(),
                kind: kind.to_owned(),
                known: known.into_iter().collect(),
            }
            .into()
        })
    }

    fn not_found(&self) -> Error {
        ContractError::NotFound {
            contract: self.name.clone(),
            known: self.known.clone(),
        }
        .into()
    }
}

impl Offer {
    /// The plugin.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether it is compiled into the app.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.is_builtin
    }

    /// The types of the contract that it offers.
    pub fn types(&self) -> impl Iterator<Item = &ContractType> {
        self.types.iter().map(|kind| &**kind)
    }

    /// Calls `label` with values for the type `kind`, which have to fit its schema. What the plugin set is in `context`
    /// afterwards. Calls of the [`handle`](Self::handle) are not compared with any schema.
    ///
    /// # Errors
    ///
    /// `contract.type` when it does not offer that type, `contract.payload` when the values do not fit,
    /// `contract.schema` when the schema is not usable, for instance because it refers to something outside of itself,
    /// and what [`Handle::call`] returns.
    pub fn call(&self, kind: &str, label: &str, context: &mut Context) -> Result<(), Error> {
        let Some(found) = self.types().find(|known| known.label() == kind) else {
            return Err(ContractError::NoType {
                contract: self.handle.name().to_string(),
                kind: kind.to_owned(),
                known: self.types().map(|kind| kind.label().to_owned()).collect(),
            }
            .into());
        };
        if let Some(checker) = found.checker() {
            let (plugin, kind) = (self.handle.plugin().name().clone(), kind.to_owned());
            let checker = match checker {
                Ok(checker) => checker,
                Err(problem) => {
                    let problem = problem.to_owned();
                    return Err(ContractError::Schema {
                        plugin,
                        kind,
                        problem,
                    }
                    .into());
                }
            };
            if let Err(misfits) = checker.check(&json::from_context(context)) {
                let problems = misfits.to_string();
                return Err(ContractError::Payload {
                    plugin,
                    kind,
                    problems,
                }
                .into());
            }
        }
        self.handle.call(label, context)
    }
}

/// The only one, or the only one that is compiled into the app.
fn pick<'a>(what: &str, offers: &[&'a Offer]) -> Result<Option<&'a Offer>, ContractError> {
    let own: Vec<&Offer> = offers
        .iter()
        .copied()
        .filter(|offer| offer.is_builtin)
        .collect();
    let candidates = if own.is_empty() { offers } else { &own };
    match candidates {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(ContractError::Ambiguous {
            contract: what.to_owned(),
            plugins: several
                .iter()
                .map(|offer| offer.handle.plugin().name().clone())
                .collect(),
        }),
    }
}
