//! Why a line, a rule or a record is refused: each reason with its words and what to do about it.

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not a host name.
    NotName,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// Longer than is read of a line.
    LineTooLong,
    /// Longer than 253 characters, or a label longer than 63.
    NameTooLong,
    /// A name in a list of addresses.
    NotAddress,
    /// A prefix in a list of names.
    NotHere,
    /// A URL in a list of names.
    Url,
    /// A URL whose path no network sees.
    NotHttp,
    /// Not a URL.
    NotUrl,
    /// A URL whose path has more parts than are kept of a request.
    TooDeep,
    /// A public suffix: everybody's names.
    PublicSuffix,
    /// A prefix too broad to be meant.
    TooBroad,
    /// Private, loopback, link-local, multicast or otherwise not a host of the internet.
    NotPublic,
    /// A prefix length beyond the address.
    BadPrefix,
    /// A field without a value.
    Empty,
    /// Not a rule of the list's format.
    Syntax,
    /// Rules of another file.
    Include,
    /// A regular expression.
    Expression,
    /// A word anywhere in a name.
    Keyword,
    /// A wildcard other than one in front.
    Wildcard,
    /// A pattern that also meets names which only begin or end so.
    OpenEnd,
    /// Everything, or everything of a kind.
    Blanket,
    /// A modifier that the format does not know.
    Modifier,
    /// For some clients only.
    Client,
    /// For some record types only.
    RecordTypes,
    /// Everything but some names.
    DenyAllow,
    /// Takes another rule back.
    BadFilter,
    /// Another answer instead of none.
    Rewrite,
    /// A zone that a resolver answers from.
    Served,
    /// Contents of pages.
    Cosmetic,
    /// For one port only.
    Port,
    /// By the servers of a name.
    NameServers,
    /// An action that stops nothing.
    NotBlocking,
    /// Only what is asked over UDP.
    TcpOnly,
    /// A name outside the zone.
    OutsideZone,
    /// All names below one, but not that one.
    BelowOnly,
    /// An exception below an entry that covers it.
    ExceptionBelow,
}

impl Refusal {
    /// What is wrong, for a message.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Refusal::NotName => "not a host name",
            Refusal::NotUtf8 => "not UTF-8",
            Refusal::LineTooLong => "longer than 4,095 bytes",
            Refusal::NameTooLong => "name longer than 253 characters, or a label longer than 63",
            Refusal::NotAddress => "not an address or prefix, in a list of addresses",
            Refusal::NotHere => "prefix in a list of names",
            Refusal::Url => "URL in a list of names",
            Refusal::NotHttp => "URL of another scheme than http: its path is not seen",
            Refusal::NotUrl => "not a host and path",
            Refusal::TooDeep => "everything below a path of more than 14 parts",
            Refusal::PublicSuffix => "public suffix, under which everybody registers names",
            Refusal::TooBroad => "prefix broader than IPv4 /8 or IPv6 /24",
            Refusal::NotPublic => "private, loopback, link-local, multicast or reserved addresses",
            Refusal::BadPrefix => "prefix length does not fit the address",
            Refusal::Empty => "empty",
            Refusal::Syntax => "not a rule of this format",
            Refusal::Include => "rules of another file: not followed from here",
            Refusal::Expression => "regular expression",
            Refusal::Keyword => "keyword: any name that holds it",
            Refusal::Wildcard => "wildcard within a name",
            Refusal::OpenEnd => "pattern that also meets names which only begin or end so",
            Refusal::Blanket => "everything, or everything of a kind",
            Refusal::Modifier => "modifier that DNS rules do not have: the rule is ignored whole",
            Refusal::Client => "for some clients only",
            Refusal::RecordTypes => "for some DNS record types only",
            Refusal::DenyAllow => "everything but some names",
            Refusal::BadFilter => "takes back another rule, which stays",
            Refusal::Rewrite => "another answer instead of a block",
            Refusal::Served => "zone of which the list itself answers some names",
            Refusal::Cosmetic => "rule for contents of pages",
            Refusal::Port => "for one port only",
            Refusal::NameServers => "by a name's servers, which are not seen",
            Refusal::NotBlocking => "action or option that blocks nothing",
            Refusal::TcpOnly => "asks for TCP, which is no block",
            Refusal::OutsideZone => "name outside the zone",
            Refusal::BelowOnly => "names below this one, but not itself",
            Refusal::ExceptionBelow => "exception under an entry that covers it: not applied",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Refusal::NotAddress => "move it to a registry of format \"domains\"",
            Refusal::NotHere => "move it to a registry of format \"addresses\" or \"mixed\"",
            Refusal::Url => {
                "move it to a registry of format \"urls\" or \"mixed\", or list the host, if all of it is meant"
            }
            Refusal::NotHttp => "list the host, if all of it is meant",
            Refusal::PublicSuffix
            | Refusal::Expression
            | Refusal::Keyword
            | Refusal::Wildcard
            | Refusal::OpenEnd
            | Refusal::Blanket
            | Refusal::Served
            | Refusal::DenyAllow => "list the names that are meant",
            Refusal::TooBroad => "list the narrower prefixes that are meant",
            Refusal::NotPublic => {
                "remove the line: such addresses are never filtered by a registry"
            }
            Refusal::NotUtf8 => "write the file in UTF-8",
            Refusal::Include => "make that file a registry of its own",
            Refusal::Client => "use a profile for those clients' organisation",
            Refusal::Port => "list the address, if all of it is meant",
            Refusal::BadFilter => "remove both rules",
            Refusal::Rewrite => "use a rule that blocks, if that is meant",
            Refusal::BelowOnly => "list the name itself too, if it is meant",
            Refusal::ExceptionBelow => {
                "narrow the entry, or allow the name by a registry of tier local"
            }
            Refusal::Modifier
            | Refusal::RecordTypes
            | Refusal::Cosmetic
            | Refusal::NameServers
            | Refusal::NotBlocking
            | Refusal::TcpOnly => "remove it, or leave it: it is not applied",
            Refusal::NotName
            | Refusal::NameTooLong
            | Refusal::LineTooLong
            | Refusal::BadPrefix
            | Refusal::Empty
            | Refusal::NotUrl
            | Refusal::TooDeep
            | Refusal::Syntax
            | Refusal::OutsideZone => "correct or remove the line",
        }
    }
}
