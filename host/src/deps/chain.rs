//! Lists in errors. Thousands of plugins can be refused for one reason, so no error holds a list of
//! thousands of names.

use std::fmt::{self, Display};

use plg_packaging::PluginName;

/// How many names are kept at each end of a chain.
const HALF: usize = 8;

/// How many things of a list are kept.
const FEW: usize = 8;

/// Plugins of which each depends on the next. Of a long chain the first eight and the last eight names
/// are kept.
///
/// Written `a -> b -> c`, or `a -> b -> (9983 more) -> y -> z`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    names: Vec<PluginName>,
    skipped: usize,
}

impl Chain {
    /// The names in order, without those that were left out in the middle.
    #[must_use]
    pub fn names(&self) -> &[PluginName] {
        &self.names
    }

    /// How many names were left out in the middle.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The places of a chain of that length that are kept.
    pub(super) fn kept(length: usize) -> impl Iterator<Item = usize> {
        let head = length.min(HALF);
        (0..head).chain(length.saturating_sub(HALF).max(head)..length)
    }

    /// The chain of `length` plugins; `name` is asked for those that are kept.
    pub(super) fn new(length: usize, name: impl Fn(usize) -> PluginName) -> Self {
        Self {
            names: Self::kept(length).map(name).collect(),
            skipped: length.saturating_sub(2 * HALF),
        }
    }

    /// How many names the whole chain has.
    pub(super) fn length(&self) -> usize {
        self.names.len() + self.skipped
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.names.iter().enumerate() {
            if place > 0 {
                f.write_str(" -> ")?;
            }
            if place == HALF && self.skipped > 0 {
                write!(f, "({} more) -> ", self.skipped)?;
            }
            write!(f, "{name}")?;
        }
        Ok(())
    }
}

/// The first eight of a list, and how many more there are.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Few<T> {
    /// The first ones.
    pub first: Vec<T>,
    /// How many follow.
    pub more: usize,
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut all = all.into_iter();
        Self {
            first: all.by_ref().take(FEW).collect(),
            more: all.count(),
        }
    }
}

impl<T: Display> Display for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, one) in self.first.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{one}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
