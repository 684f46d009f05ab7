//! Whether plugins in a cycle would all be there.

/// How one plugin of a cycle depends on the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Link {
    /// It needs it, or the next is chosen.
    Firm,
    /// It can do without, and the next is not chosen.
    Loose,
    /// Not in this release.
    None,
}

/// A cycle of plugins.
#[derive(Debug)]
pub(super) struct Ring<'i> {
    pub(super) ids: &'i [usize],
    /// Of each plugin to the next.
    links: Vec<Link>,
}

impl<'i> Ring<'i> {
    pub(super) fn new(ids: &'i [usize], link: impl Fn(usize, usize) -> Link) -> Self {
        let next = ids.iter().cycle().skip(1);
        let links = ids.iter().zip(next).map(|(id, next)| link(*id, *next));
        Self {
            ids,
            links: links.collect(),
        }
    }

    /// The places at which a plugin would complete the cycle if it were loaded and had a firm link to the
    /// next: the others are there, or needed by the one before. Only a link to that plugin may be loose.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let mut weak = self
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| **link != Link::Firm);
        let weak: [Option<(usize, &Link)>; 3] = [weak.next(), weak.next(), weak.next()];
        let length = self.ids.len();
        (0..length).filter(move |place| {
            let before = (place + length - 1) % length;
            weak.iter()
                .flatten()
                .all(|(at, link)| at == place || (*at == before && **link == Link::Loose))
        })
    }
}
