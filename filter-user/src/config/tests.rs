//! Configurations with what is wrong in them, to the line.

use super::*;

const GOOD: &str = r#"
[[interfaces]]
name = "edge0"
side = "organisations"
vlans = { "101" = "lan" }
mpls_reply = 1000

[[registries]]
id = "law"
tier = "unified"
format = "mixed"
semantics = "suffix"
path = "law.txt"

[[registries]]
id = "library"
tier = "local"
format = "domains"
semantics = "exact"
path = "/lists/library.txt"

[[profiles]]
id = "school"
age = 12
block = ["games"]
allow = ["library"]

[[organisations]]
id = "s2"
prefixes = ["192.0.2.0/28", "2001:db8:2::/56"]
profile = "school"

[[organisations]]
id = "s1"
realm = "lan"
prefixes = ["10.0.0.0/24"]
profile = "school"

[infrastructure]
resolvers = ["198.51.100.53"]
"#;

fn problems(text: &str) -> Vec<String> {
    match Config::from_text(Path::new("dir/s.toml"), text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn good_configuration_is_read() {
    let config = Config::from_text(Path::new("dir/s.toml"), GOOD).unwrap();
    assert_eq!(config.organisations[0].id, "s1");
    assert_eq!(config.registries[0].path, Path::new("dir/law.txt"));
    assert_eq!(config.registries[1].path, Path::new("/lists/library.txt"));
    assert_eq!(config.interfaces[0].vlans, [(101, "lan".to_owned())]);
    assert_eq!(config.interfaces[0].mpls_reply, MplsReply::Label(1000));
    assert_eq!(
        config.enrolled,
        Enrolled {
            organisations: 2,
            segments: 0,
            ipv4_addresses: 272,
            ipv6_subnets: 256
        }
    );
    assert_eq!(config.realms(), ["default", "lan"]);
    assert_eq!(
        config.daemon.socket,
        Path::new("/run/schoolgate/control.sock")
    );
}

#[test]
fn all_problems_come_at_once_each_with_its_line() {
    let text = GOOD
        .replace("age = 12", "age = 13")
        .replace("\"games\"", "\"gmes\"")
        .replace("path = \"law.txt\"", "pth = \"law.txt\"")
        .replace("192.0.2.0/28", "192.0.2.1/28")
        .replace("side = \"organisations\"", "side = \"organisation\"");
    let wanted = [
        "dir/s.toml:4: [[interfaces]] side: unknown word \"organisation\": did you mean \"organisations\"?",
        "dir/s.toml:8: [[registries]] has no path",
        "dir/s.toml:13: [[registries]] unknown key pth: did you mean path?",
        "dir/s.toml:24: [[profiles]] age: 13 is no age mark",
        "dir/s.toml:25: [[profiles]] block: unknown category \"gmes\": did you mean \"games\"?",
        "dir/s.toml:30: [[organisations]] prefixes: \"192.0.2.1/28\" has host bits set: write 192.0.2.0/28",
    ];
    let found = problems(&text);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "{found} | {wanted}");
    }
}

#[test]
fn quic_takes_its_own_words_only() {
    let with =
        |word: &str| problems(&GOOD.replace("age = 12", &format!("age = 12\nquic = {word}")));
    assert_eq!(with("\"fallback\""), Vec::<String>::new());
    assert_eq!(with("\"inspect\""), Vec::<String>::new());
    assert_eq!(with("\"allow\""), Vec::<String>::new());
    assert_eq!(
        with("\"falback\"")[0],
        "dir/s.toml:25: [[profiles]] quic: unknown word \"falback\": did you mean \"fallback\"? known: inspect, fallback, allow"
    );
    assert!(with("true")[0].starts_with("dir/s.toml:25: [[profiles]] quic"));
}

#[test]
fn encrypted_dns_takes_two_words() {
    let with = |word: &str| {
        problems(&GOOD.replace("age = 12", &format!("age = 12\nencrypted_dns = {word}")))
    };
    assert!(with("\"allow\"").is_empty() && with("\"block\"").is_empty());
    let found = with("\"blok\"");
    assert!(
        found[0].starts_with(
            "dir/s.toml:25: [[profiles]] encrypted_dns: unknown word \"blok\": did you mean \"block\"?"
        ),
        "{found:?}"
    );
    let found = with("true");
    assert!(found[0].starts_with("dir/s.toml:25: "), "{found:?}");
    let many: String = (0..54)
        .map(|at| {
            format!("[[registries]]\nid = \"l{at}\"\ntier = \"local\"\nformat = \"addresses\"\npath = \"l\"\n")
        })
        .collect();
    let found = problems(&format!("{GOOD}{many}"));
    assert!(
        found[0].contains("55 registries of tier local"),
        "{found:?}"
    );
    assert!(found[0].contains("at most 53"), "{found:?}");
}

#[test]
fn ech_takes_two_words_and_lists_of_names() {
    let with = |word: &str| problems(&GOOD.replace("age = 12", &format!("age = 12\nech = {word}")));
    assert!(with("\"allow\"").is_empty() && with("\"withhold\"").is_empty());
    let found = with("\"withold\"");
    assert!(
        found[0].starts_with(
            "dir/s.toml:25: [[profiles]] ech: unknown word \"withold\": did you mean \"withhold\"?"
        ),
        "{found:?}"
    );
    let list = GOOD.replace("tier = \"unified\"", "tier = \"ech\"");
    let found = problems(&list);
    assert!(
        found[0].starts_with("dir/s.toml:8: [[registries]] of tier ech holds names only"),
        "{found:?}"
    );
    assert!(problems(&list.replace("\"mixed\"", "\"domains\"")).is_empty());
}

#[test]
fn safe_search_takes_three_words_and_a_file() {
    let with = |word: &str| {
        problems(&GOOD.replace("age = 12", &format!("age = 12\nsafe_search = {word}")))
    };
    for word in ["off", "moderate", "strict"] {
        assert!(with(&format!("\"{word}\"")).is_empty(), "{word}");
    }
    let found = with("\"strikt\"");
    assert!(
        found[0].starts_with(
            "dir/s.toml:25: [[profiles]] safe_search: unknown word \"strikt\": did you mean \"strict\"?"
        ),
        "{found:?}"
    );
    let dir = crate::testing::TempDir::new();
    dir.write("e.toml", "[[engines]]\nid = \"a\"\n");
    let read = |file: &str| {
        let text = format!("safe_search_file = \"{file}\"\n{GOOD}");
        let problems = Config::from_text(&dir.path().join("s.toml"), &text).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let missing = read("none.toml");
    assert!(
        missing[0].contains("s.toml:1: safe_search_file: "),
        "{missing:?}"
    );
    let broken = read("e.toml");
    assert!(
        broken[0].contains("e.toml:1: [[engines]] has no name"),
        "{broken:?}"
    );
}

#[test]
fn broken_toml_names_the_line() {
    let found = problems("[daemon]\nflows = = 3\n");
    assert!(found[0].starts_with("dir/s.toml:2: "), "{found:?}");
}

#[test]
fn unknown_references_are_refused_with_the_nearest() {
    let text = GOOD
        .replace("profile = \"school\"", "profile = \"shcool\"")
        .replace("allow = [\"library\"]", "allow = [\"law\"]");
    let found = problems(&text);
    assert!(
        found[0].contains("registry \"law\" is of tier unified"),
        "{found:?}"
    );
    assert!(
        found[1].contains("unknown profile \"shcool\": did you mean \"school\"?"),
        "{found:?}"
    );
}

#[test]
fn enrolment_over_the_limit_is_refused() {
    let wide =
        |prefixes: &str| problems(&GOOD.replace("\"192.0.2.0/28\", \"2001:db8:2::/56\"", prefixes));
    assert!(wide("\"192.0.0.0/20\"").is_empty());
    assert!(wide("\"192.0.0.0/19\"")[0].contains("enrols 8192 IPv4 addresses"));
    assert!(wide("\"192.0.0.0/20\", \"198.51.100.1\"")[0].contains("enrols 4097 IPv4 addresses"));
    assert!(wide("\"2001:db8::/40\"").is_empty());
    assert!(wide("\"2001:db8::/39\"")[0].contains("a /40"));
    assert!(
        wide("\"2001:db8::/40\", \"2001:db9::/120\"")[0].contains("enrols 16777217 IPv6 networks")
    );
    assert!(wide("\"::/0\"")[0].contains("more than 16777216"));
}

#[test]
fn overlaps_within_a_realm_are_refused_and_between_realms_are_not() {
    let same = GOOD.replace("10.0.0.0/24", "192.0.2.8/29");
    assert!(problems(&same).is_empty(), "another realm");
    let found = problems(&same.replace("realm = \"lan\"\n", ""));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("dir/s.toml:33: "), "{found:?}");
    assert!(
        found[0].contains("192.0.2.8/29 of \"s1\" overlaps 192.0.2.0/28 of \"s2\""),
        "{found:?}"
    );
}

#[test]
fn duplicate_ids_name_the_first_line() {
    let found = problems(&GOOD.replace("id = \"s1\"", "id = \"s2\""));
    assert!(
        found[0].starts_with("dir/s.toml:33: [[organisations]] id \"s2\" is there twice"),
        "{found:?}"
    );
    assert!(found[0].ends_with("line 28"), "{found:?}");
}

#[test]
fn realm_that_no_interface_carries_is_refused() {
    let found = problems(&GOOD.replace("realm = \"lan\"", "realm = \"lam\""));
    assert!(
        found[0].contains("no interface carries realm \"lam\": did you mean \"lan\"?"),
        "{found:?}"
    );
}

#[test]
fn forty_thousand_organisations_are_read_fast() {
    use std::fmt::Write as _;
    let mut text = GOOD.to_owned();
    for number in 0..40_000u32 {
        let prefix = std::net::Ipv4Addr::from(0x0b00_0000 + number * 16);
        let _ = write!(
            text,
            "[[organisations]]\nid = \"org-{number}\"\nname = \"School {number}\"\nprefixes = [\"{prefix}/28\"]\nprofile = \"school\"\n\n"
        );
    }
    let config = Config::from_text(Path::new("s.toml"), &text).unwrap();
    assert_eq!(config.enrolled.organisations, 40_002);
}

const PORTAL: &str = r#"
[portal]
listen = ["198.51.100.80:80", "[2001:db8:ffff::80]:80"]
address = ["198.51.100.80", "2001:db8:ffff::80"]
host = "Filter.Example"
name = "Provider"
"#;

#[test]
fn portal_is_read_and_always_reachable() {
    let text = format!("{GOOD}{PORTAL}");
    let config = Config::from_text(Path::new("dir/s.toml"), &text).unwrap();
    let portal = config.portal.unwrap();
    assert_eq!(portal.listen.len(), 2);
    assert_eq!(portal.host.as_deref(), Some("filter.example"));
    assert_eq!(portal.grant_minutes, 15);
    let known = config.infrastructure.iter();
    let known: Vec<String> = known
        .map(|known| format!("{} {}", known.role, known.address))
        .collect();
    let wanted = [
        "portal 198.51.100.80",
        "portal 2001:db8:ffff::80",
        "resolvers 198.51.100.53",
    ];
    assert_eq!(known, wanted);
    let both = text.replace(
        "[infrastructure]",
        "[infrastructure]\nportal = [\"198.51.100.80\"]",
    );
    let config = Config::from_text(Path::new("dir/s.toml"), &both).unwrap();
    assert_eq!(config.infrastructure.len(), 3, "named twice, there once");
}

#[test]
fn mistakes_in_the_portal_are_told_with_their_line() {
    let wrong = |from: &str, to: &str| {
        let found = problems(&format!("{GOOD}{}", PORTAL.replace(from, to)));
        assert_eq!(found.len(), 1, "{to}: {found:?}");
        found.into_iter().next().unwrap_or_default()
    };
    let start = GOOD.lines().count() + 2;
    let at = |line: usize| format!("dir/s.toml:{}: ", start + line);
    for (from, to, line, what) in [
        ("198.51.100.80:80", "198.51.100.80:443", 1, "must refuse"),
        (
            "198.51.100.80:80",
            "198.51.100.80",
            1,
            "no address and port",
        ),
        (
            "2001:db8:ffff::80\"]\nh",
            "0.0.0.0\"]\nh",
            2,
            "no host's address",
        ),
        ("2001:db8:ffff::80\"]\nh", "1.2.3.4\"]\nh", 2, "same family"),
        ("Filter.Example", "http://x/", 3, "no host name"),
        ("name", "nmae", 4, "did you mean name?"),
        (
            "name = \"Provider\"",
            "grant_minutes = 16",
            4,
            "out of bounds",
        ),
    ] {
        let found = wrong(from, to);
        assert!(found.starts_with(&at(line)), "{to}: {found}");
        assert!(found.contains(what), "{to}: {found}");
    }
    let long = "x".repeat(121);
    assert!(wrong("Provider", &long).contains("longer than 120"));
    let lonely = problems(&format!("{GOOD}[portal]\n"));
    assert!(lonely[0].contains("has no listen") && lonely[1].contains("has no address"));
}

#[test]
fn keys_of_a_dump_belong_to_a_dump() {
    let registry = |tier: &str, format: &str, rest: &str| {
        problems(&format!(
            "[[registries]]\nid = \"r\"\ntier = \"{tier}\"\nformat = \"{format}\"\npath = \"p\"\n{rest}\n"
        ))
    };
    let keys = "deltas = \"d\"\nhttps_urls = \"host\"\nshrink_max_percent = 10";
    assert_eq!(registry("unified", "dump", keys), [""; 0]);
    assert_eq!(registry("local", "soc_resources", ""), [""; 0]);
    assert_eq!(registry("unified", "addresses", keys).len(), 2);
    for (tier, format, rest) in [
        ("unified", "soc_resources", ""),
        ("unified", "dump", "semantics = \"suffix\""),
        ("unified", "dump", "https_urls = \"block\""),
        ("unified", "dump", "shrink_max_percent = 101"),
    ] {
        let found = registry(tier, format, rest);
        assert_eq!(found.len(), 1, "{tier} {format} {rest}: {found:?}");
    }
    let misspelt = registry("unified", "dmp", keys);
    assert_eq!(misspelt.len(), 1, "{misspelt:?}");
    assert!(
        misspelt[0].contains("did you mean \"dump\"?"),
        "{misspelt:?}"
    );
    let text = "[[registries]]\nid = \"r\"\ntier = \"unified\"\nformat = \"dump\"\npath = \"p\"\ndeltas = \"d\"\n";
    let config = Config::from_text(Path::new("dir/s.toml"), text).unwrap();
    let registry = &config.registries[0];
    assert_eq!(registry.deltas.as_deref(), Some(Path::new("dir/d")));
    assert_eq!(registry.size.shrink_max_percent, 50);
}

/// Problems of a configuration whose organisations stand in a file of CSV, without the directory.
fn problems_of_csv(toml: &str, csv: &[u8]) -> Vec<String> {
    let dir = crate::testing::TempDir::new();
    dir.write("schools.csv", csv);
    let text = format!("organisations_file = \"schools.csv\"\n{GOOD}{toml}");
    match Config::from_text(&dir.path().join("s.toml"), &text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .map(|problem| {
                let name = problem.file.file_name().unwrap().to_string_lossy();
                format!("{name}:{}: {}", problem.line, problem.what)
            })
            .collect(),
    }
}

#[test]
fn organisations_come_from_csv_with_mark_semicolons_and_segments() {
    let dir = crate::testing::TempDir::new();
    let csv = "\u{feff}id;profile;prefixes;name;timezone;region\r\n\
               a/lab;school;198.51.100.4/30;;;\r\n\
               a;school;198.51.100.0/28 2001:db8:a::/48;\"School; A\";Asia/Omsk;55\r\n";
    dir.write("schools.csv", csv);
    let text =
        format!("organisations_file = \"schools.csv\"\ntimezone = \"Europe/Moscow\"\n{GOOD}");
    let config = Config::from_text(&dir.path().join("s.toml"), &text).unwrap();
    let ids: Vec<&str> = config
        .organisations
        .iter()
        .map(|org| org.id.as_str())
        .collect();
    assert_eq!(ids, ["a", "a/lab", "s1", "s2"]);
    let whole = config.organisation("a").unwrap();
    let segment = config.organisation("a/lab").unwrap();
    assert_eq!(
        (whole.name.as_str(), whole.region.as_str()),
        ("School; A", "55")
    );
    assert_eq!((whole.place.line, segment.place.line), (3, 2));
    assert_eq!(segment.parent(), Some("a"));
    assert_eq!(segment.timezone.iana_name(), Some("Asia/Omsk"));
    let other = config.organisation("s1").unwrap();
    assert_eq!(other.timezone.iana_name(), Some("Europe/Moscow"));
    let rest: Vec<String> = whole.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(
        rest,
        ["198.51.100.0/30", "198.51.100.8/29", "2001:db8:a::/48"]
    );
    assert_eq!(
        (config.enrolled.organisations, config.enrolled.segments),
        (3, 1)
    );
}

#[test]
fn a_table_is_read_as_a_russian_spreadsheet_writes_it() {
    let dir = crate::testing::TempDir::new();
    let csv = "id;profile;prefixes;name\r\na;school;198.51.100.0/28;Школа № 1\r\n";
    let (bytes, _, wrong) = encoding_rs::WINDOWS_1251.encode(csv);
    assert!(!wrong && bytes.len() < csv.len());
    dir.write("schools.csv", &bytes);
    let text = format!("organisations_file = \"schools.csv\"\n{GOOD}");
    let config = Config::from_text(&dir.path().join("s.toml"), &text).unwrap();
    assert_eq!(config.organisation("a").unwrap().name, "Школа № 1");
}

#[test]
fn problems_of_csv_have_its_file_and_line_and_come_all_at_once() {
    let csv = "id,profile,prefixes,realm\n\
               a,school,198.51.100.0/28,lan\n\
               b,skool,198.51.100.300/28,lan\n\
               c,school,198.51.100.8/30\n\
               d,school,198.51.100.9/30,lan\n\
               ,school,198.51.100.64/30,lan\n\
               e/x,school,198.51.100.68/30,lan\n\
               a/y,school,198.51.100.72/30,\n\
               s1,school,,lan\n";
    let found = problems_of_csv("", csv.as_bytes());
    let wanted = [
        "schools.csv:3: organisations_file prefixes: \"198.51.100.300/28\" is no prefix",
        "schools.csv:3: organisations_file profile: unknown profile \"skool\"",
        "schools.csv:4: the row has 3 fields, and there are 4 columns",
        "schools.csv:5: organisations_file prefixes: \"198.51.100.9/30\" has host bits set",
        "schools.csv:5: organisations_file prefixes: 198.51.100.8/30 of \"d\" overlaps 198.51.100.0/28 of \"a\" in realm \"lan\"",
        "schools.csv:6: organisations_file has no id",
        "schools.csv:7: organisations_file id: there is no organisation \"e\"",
        "schools.csv:8: organisations_file prefixes: 198.51.100.72/30 of \"a/y\" is no part of the prefixes of \"a\"",
        "schools.csv:9: organisations_file has no prefixes",
        "schools.csv:9: organisations_file id \"s1\" is there twice",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn unknown_columns_and_what_is_no_text_are_refused() {
    let found = problems_of_csv("", b"id,profile,prefix,profile\na,school,192.0.2.64/30,x\n");
    let wanted = [
        "schools.csv:1: unknown column \"prefix\"",
        "schools.csv:1: column profile is there twice",
        "schools.csv:1: there is no column prefixes",
    ];
    assert_eq!(found, wanted);
    let found = problems_of_csv("", b"id,profile,prefixes\na,school,192.0.2.64/30\0\n");
    assert_eq!(found, ["schools.csv:0: holds zero bytes: no text"]);
    let found = problems_of_csv("", b"");
    assert_eq!(found, ["schools.csv:0: is empty"]);
}

#[test]
fn segments_are_checked_against_their_organisation() {
    let segments = "
[[organisations]]
id = \"t\"
timezone = \"Asia/Nowhere\"
prefixes = [\"203.0.113.0/26\"]
profile = \"school\"
[[organisations.segments]]
id = \"staff\"
prefixes = [\"203.0.113.0/28\"]
profile = \"school\"
[[organisations.segments]]
id = \"guests\"
prefixes = [\"203.0.113.8/29\", \"203.0.113.64/29\"]
profile = \"school\"
[[organisations.segments]]
id = \"a/b\"
realm = \"lan\"
prefixes = [\"10.1.0.0/24\"]
";
    let found = problems(&format!("{GOOD}{segments}"));
    let found: Vec<&str> = (found.iter())
        .map(|problem| problem.split(" [[").nth(1).unwrap())
        .collect();
    assert!(
        found[0].contains("unknown time zone \"Asia/Nowhere\""),
        "{found:?}"
    );
    assert!(
        found[1].contains("203.0.113.64/29 of \"t/guests\" is no part"),
        "{found:?}"
    );
    assert!(
        found[2].contains("203.0.113.8/29 of \"t/guests\" overlaps 203.0.113.0/28"),
        "{found:?}"
    );
    assert!(found[3].contains("\"a/b\" holds a \"/\""), "{found:?}");
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn unknown_services_and_too_many_in_use_are_refused() {
    let mut text = String::new();
    let mut ids = Vec::new();
    for number in 0..60 {
        text += &format!("[[services]]\nid = \"v{number}\"\ndomains = [\"v{number}.example\"]\n");
        ids.push(format!("\"v{number}\""));
    }
    let profile = |ids: &[String]| {
        format!(
            "{text}[[profiles]]\nid = \"p\"\ndeny_services = [{}]\n",
            ids.join(",")
        )
    };
    assert!(problems(&profile(&ids[..53])).is_empty());
    let found = problems(&profile(&ids[..54]));
    assert!(
        found[0].contains("54 services in use and 0 registries of tier local"),
        "{found:?}"
    );
    let found = problems(&profile(&["\"v3x\"".to_owned()]));
    assert!(
        found[0].contains("unknown service \"v3x\": did you mean \"v3\"?"),
        "{found:?}"
    );
    let twice = "[[services]]\nid = \"v1\"\ndomains = [\"ru\"]\n";
    let found = problems(&format!("{}{twice}", profile(&ids[..1])));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("service v1 is there twice"))
    );
}
