//! Whether one requirement allows what another does.

use semver::{Prerelease, Version, VersionReq};

/// Whether `wide` allows every version that `narrow` does.
///
/// What a requirement allows begins at few versions: those that its parts name and their next ones. If something is
/// allowed by `narrow` alone, so is the first version of it, which is one of these.
pub(super) fn allows_all_of(wide: &VersionReq, narrow: &VersionReq) -> bool {
    let named = wide.comparators.iter().chain(&narrow.comparators);
    let beginnings = named.flat_map(|part| {
        let next = |number: u64| number.saturating_add(1);
        let (major, minor, patch) = (part.major, part.minor.unwrap_or(0), part.patch.unwrap_or(0));
        let version = |major, minor, patch, pre: &Prerelease| {
            let mut version = Version::new(major, minor, patch);
            version.pre = pre.clone();
            version
        };
        [
            version(major, minor, patch, &part.pre),
            version(major, minor, patch, &Prerelease::EMPTY),
            version(major, minor, next(patch), &Prerelease::EMPTY),
            version(major, next(minor), 0, &Prerelease::EMPTY),
            version(next(major), 0, 0, &Prerelease::EMPTY),
        ]
    });
    let mut all = beginnings.chain([Version::new(0, 0, 0)]);
    all.all(|version| wide.matches(&version) || !narrow.matches(&version))
}
