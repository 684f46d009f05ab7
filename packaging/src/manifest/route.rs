//! The HTTP routes a plugin wants to answer.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    name::Label,
    text::{Quoted, Rule, Text, checked_text},
};

/// The routes of a plugin and the driver they were written for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HttpServices {
    /// The HTTP driver the author had in mind, for instance `beego`. Every driver's routes are served the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Text>,
    /// The routes.
    pub routes: Vec<HttpRoute>,
}

/// One endpoint and the label its requests are called with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HttpRoute {
    /// The path, with `:name` for a part that varies.
    pub route: RoutePattern,
    /// The HTTP method.
    pub method: Method,
    /// The label a request is called with.
    pub label: Label,
}

/// An HTTP method a route can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

checked_text! {
    /// The path of an endpoint: `/` and segments, each a literal or `:name` for a part that varies.
    ///
    /// Literals are written as they are requested, so nothing in them needs decoding: no `%`, no wildcards, no `..`.
    ///
    /// ```
    /// use plg_packaging::manifest::{RoutePattern, Segment};
    ///
    /// let route = RoutePattern::new("/api/plugin/sample/:id")?;
    /// assert_eq!(route.segments().last(), Some(Segment::Parameter("id")));
    /// assert!(RoutePattern::new("/api/../admin").is_err());
    /// # Ok::<(), plg_packaging::TextError>(())
    /// ```
    RoutePattern,
    pattern: "^/([A-Za-z0-9._~@-]+|:[A-Za-z_][A-Za-z0-9_]*)?(/([A-Za-z0-9._~@-]+|:[A-Za-z_][A-Za-z0-9_]*))*$",
    rule: Rule {
        what: "route",
        limit: 512,
        may_be_empty: false,
        allowed: "letters, digits and `/ : . _ ~ @ -`",
        allows: |character, _| is_route_character(character),
        form: check_segments,
    },
}

/// One part of a [`RoutePattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment<'a> {
    /// A part that stands in the request as it stands here.
    Literal(&'a str),
    /// A part that varies, by its name.
    Parameter(&'a str),
}

impl HttpServices {
    /// Routes that were written for no driver in particular.
    pub const fn new(routes: Vec<HttpRoute>) -> Self {
        Self {
            driver: None,
            routes,
        }
    }
}

impl HttpRoute {
    /// The endpoint `method` `route`, answered by calling `label`.
    pub const fn new(route: RoutePattern, method: Method, label: Label) -> Self {
        Self {
            route,
            method,
            label,
        }
    }
}

impl RoutePattern {
    /// The parts between the slashes; none for `/`.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        segments(self.as_str())
    }

    /// The pattern without the names of its parameters. Two routes with the same shape answer the same requests.
    pub fn shape(&self) -> String {
        let mut shape = String::with_capacity(self.as_str().len());
        for segment in self.segments() {
            shape.push('/');
            shape.push_str(match segment {
                Segment::Literal(literal) => literal,
                Segment::Parameter(_) => ":",
            });
        }
        shape
    }
}

impl Method {
    /// The method as it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text is not a [`Method`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP method {shown} is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
pub struct MethodError {
    shown: String,
}

impl FromStr for Method {
    type Err = MethodError;

    /// Reads a method in any case, as the drivers of existing manifests do.
    fn from_str(text: &str) -> Result<Self, MethodError> {
        const ALL: [Method; 7] = [
            Method::Get,
            Method::Head,
            Method::Post,
            Method::Put,
            Method::Patch,
            Method::Delete,
            Method::Options,
        ];
        ALL.into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| MethodError {
                shown: Quoted(text).to_string(),
            })
    }
}

/// More parameters than this make no readable route, and finding twins among them would cost.
const MAX_PARAMETERS: usize = 16;

fn segments(pattern: &str) -> impl Iterator<Item = Segment<'_>> {
    let rest = pattern.strip_prefix('/').unwrap_or(pattern);
    let parts = (!rest.is_empty()).then(|| rest.split('/'));
    parts
        .into_iter()
        .flatten()
        .map(|part| match part.strip_prefix(':') {
            Some(name) => Segment::Parameter(name),
            None => Segment::Literal(part),
        })
}

fn is_route_character(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(character, '/' | ':' | '.' | '_' | '~' | '@' | '-')
}

fn check_segments(pattern: &str) -> Result<(), &'static str> {
    if !pattern.starts_with('/') {
        return Err("does not start with `/`");
    }
    let mut names = [""; MAX_PARAMETERS];
    let mut count = 0;
    for segment in segments(pattern) {
        match segment {
            Segment::Literal("") => return Err("holds an empty segment, or ends in `/`"),
            Segment::Literal("." | "..") => {
                return Err("holds `.` or `..`, which clients resolve before they ask");
            }
            Segment::Literal(literal) if literal.contains(':') => {
                return Err("has a `:` inside a segment, a parameter is a whole segment");
            }
            Segment::Literal(_) => {}
            Segment::Parameter(name) if !is_identifier(name) => {
                return Err("has a parameter without a proper name, expected one as in `:id`");
            }
            Segment::Parameter(name) if names[..count].contains(&name) => {
                return Err("names a parameter twice");
            }
            Segment::Parameter(_) if count == MAX_PARAMETERS => {
                return Err("has more than 16 parameters");
            }
            Segment::Parameter(name) => {
                names[count] = name;
                count += 1;
            }
        }
    }
    Ok(())
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
