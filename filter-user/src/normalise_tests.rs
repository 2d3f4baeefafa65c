//! Tables of lines with what the normaliser makes of them.

use super::*;

fn read(text: &str, accept: Accept) -> Result<Option<String>, Refusal> {
    let subject = line(text.as_bytes(), accept, Guards::ALL)?;
    Ok(subject.map(|subject| match subject {
        Subject::Name { name, suffix } => format!("{}{name}", if suffix { "*." } else { "" }),
        Subject::Address(address) => address.to_string(),
        Subject::Net(net) => net.to_string(),
        Subject::Url { host, path, below } => {
            format!("http://{host}{path}{}", if below { "*" } else { "" })
        }
    }))
}

#[test]
fn urls_become_a_host_and_a_path() {
    let table = [
        (
            "http://Pages.Example/Bad?id=7#top",
            "http://pages.example/Bad?id=7",
        ),
        ("HTTP://pages.example:8080/x", "http://pages.example/x"),
        ("pages.example/x/*", "http://pages.example/x*"),
        ("pages.example/*", "http://pages.example*"),
        ("http://pages.example", "http://pages.example/"),
        ("http://pages.example?q", "http://pages.example/?q"),
        ("http://203.0.113.5/x", "http://203.0.113.5/x"),
        ("http://пример.example/я", "http://xn--e1afmkfd.example/я"),
        ("htp://pages.example\\x", "http://pages.example/x"),
        ("http//pages.example/x", "http://pages.example/x"),
        ("http:pages.example/x", "http://pages.example/x"),
        ("http:80/x", "http://http/x"),
        (
            "http://me:secret@pages.example./x",
            "http://pages.example/x",
        ),
        ("http://pages.example/x&#39;y", "http://pages.example/x"),
        ("pages.example/?a&amp;b", "http://pages.example/?a&b"),
    ];
    for (text, wanted) in table {
        assert_eq!(
            read(text, Accept::Urls),
            Ok(Some(wanted.to_owned())),
            "{text}"
        );
    }
    let refused = [
        ("https://pages.example/x", Refusal::NotHttp),
        ("ftp://pages.example/x", Refusal::NotHttp),
        ("http:///x", Refusal::NotUrl),
        ("http://a b/x", Refusal::NotUrl),
        (
            "http://a.example/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15*",
            Refusal::TooDeep,
        ),
    ];
    for (text, refusal) in refused {
        assert_eq!(read(text, Accept::Urls), Err(refusal), "{text}");
    }
    let mixed = read("http://pages.example/x", Accept::Mixed);
    assert_eq!(mixed, Ok(Some("http://pages.example/x".to_owned())));
    assert_eq!(read("pages.example/x", Accept::Names), Err(Refusal::Url));
}

#[test]
fn lines_become_canonical_subjects() {
    let table = [
        ("\u{feff}Casino.Example", "casino.example"),
        ("  spaced.example \t", "spaced.example"),
        ("trailing.example.", "trailing.example"),
        ("trailing.example..", "trailing.example"),
        ("*.wild.example", "*.wild.example"),
        (".dot.example.", "*.dot.example"),
        ("name.example # why", "name.example"),
        ("name.example\t# why\r", "name.example"),
        ("Пример.example", "xn--e1afmkfd.example"),
        ("ПРИМЕР-Запрет.рф", "xn----8sbncid2awgdde1a.xn--p1ai"),
        ("xn--e1afmkfd.example", "xn--e1afmkfd.example"),
        ("under_score.example", "under_score.example"),
        ("203.0.113.5", "203.0.113.5"),
        ("203.0.113.5/32", "203.0.113.5"),
        ("203.0.113.77/25", "203.0.113.0/25"),
        ("2001:DB8:0:0::5", "2001:db8::5"),
        ("2001:db8::5/128", "2001:db8::5"),
        ("2001:db8:dead:beef::/48", "2001:db8:dead::/48"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ];
    for (text, wanted) in table {
        assert_eq!(
            read(text, Accept::Mixed),
            Ok(Some(wanted.to_owned())),
            "{text:?}"
        );
    }
}

#[test]
fn empty_lines_and_comments_are_no_subjects() {
    for text in [
        "",
        "  ",
        "\u{feff}",
        "# comment",
        "  # comment",
        "; comment",
        "\r",
    ] {
        assert_eq!(read(text, Accept::Mixed), Ok(None), "{text:?}");
    }
}

#[test]
fn refused_lines_say_why() {
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = format!("{}example", "abcdefg.".repeat(32));
    let table: &[(&str, Accept, Refusal)] = &[
        ("two words.example", Accept::Names, Refusal::NotName),
        ("a..b.example", Accept::Names, Refusal::NotName),
        ("a.example,b.example", Accept::Names, Refusal::NotName),
        ("*.", Accept::Names, Refusal::NotName),
        ("1.2.3", Accept::Names, Refusal::NotName),
        ("1.2.3.256", Accept::Names, Refusal::NotName),
        (&long_label, Accept::Names, Refusal::NameTooLong),
        (&long_name, Accept::Names, Refusal::NameTooLong),
        ("name.example", Accept::Addresses, Refusal::NotAddress),
        ("203.0.113.0/24", Accept::Names, Refusal::NotHere),
        ("host.example/path", Accept::Names, Refusal::Url),
        ("https://host.example/", Accept::Mixed, Refusal::NotHttp),
        ("203.0.113.0/33", Accept::Mixed, Refusal::BadPrefix),
        ("203.0.113.0/x", Accept::Mixed, Refusal::BadPrefix),
        ("8.0.0.0/7", Accept::Mixed, Refusal::TooBroad),
        ("2001:db8::/23", Accept::Mixed, Refusal::TooBroad),
        ("0.0.0.0", Accept::Mixed, Refusal::NotPublic),
        ("10.0.0.0/8", Accept::Mixed, Refusal::NotPublic),
        ("172.0.0.0/8", Accept::Mixed, Refusal::NotPublic),
        ("172.31.255.255", Accept::Mixed, Refusal::NotPublic),
        ("192.168.1.1", Accept::Mixed, Refusal::NotPublic),
        ("127.0.0.1", Accept::Names, Refusal::NotPublic),
        ("169.254.1.1", Accept::Mixed, Refusal::NotPublic),
        ("224.0.0.1", Accept::Mixed, Refusal::NotPublic),
        ("255.255.255.255", Accept::Mixed, Refusal::NotPublic),
        ("::1", Accept::Mixed, Refusal::NotPublic),
        ("fe80::1", Accept::Mixed, Refusal::NotPublic),
        ("fd00::/48", Accept::Mixed, Refusal::NotPublic),
        ("ff02::1", Accept::Mixed, Refusal::NotPublic),
        ("0.0.0.0/8", Accept::Addresses, Refusal::NotPublic),
        ("100.64.0.0/10", Accept::Addresses, Refusal::NotPublic),
        ("192.0.0.8", Accept::Addresses, Refusal::NotPublic),
        ("192.0.0.0/16", Accept::Addresses, Refusal::NotPublic),
        ("198.19.0.0/16", Accept::Addresses, Refusal::NotPublic),
        ("240.0.0.0/8", Accept::Addresses, Refusal::NotPublic),
        ("64:ff9b::/96", Accept::Addresses, Refusal::NotPublic),
        ("64:ff9b::cb00:7105", Accept::Addresses, Refusal::NotPublic),
        ("64:ff9b:1::/48", Accept::Addresses, Refusal::NotPublic),
        ("100::/64", Accept::Addresses, Refusal::NotPublic),
        ("fec0::1", Accept::Addresses, Refusal::NotPublic),
        ("::203.0.113.5", Accept::Addresses, Refusal::NotPublic),
        ("::ffff:10.0.0.1", Accept::Addresses, Refusal::NotPublic),
        ("::ffff:10.0.0.0/104", Accept::Addresses, Refusal::NotPublic),
        ("http://192.168.1.1/admin", Accept::Urls, Refusal::NotPublic),
    ];
    for (text, accept, refusal) in table {
        assert_eq!(read(text, *accept), Err(*refusal), "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_do_not_stop_the_reader() {
    assert_eq!(
        line(b"\xcf\xee\xf0\xed.example", Accept::Mixed, Guards::ALL),
        Err(Refusal::NotUtf8)
    );
}

#[test]
fn private_addresses_pass_without_guards() {
    let subject = line(b"10.0.0.0/8", Accept::Mixed, Guards::NONE);
    assert!(matches!(subject, Ok(Some(Subject::Net(_)))), "{subject:?}");
}

#[test]
fn public_suffixes_are_known() {
    for name in ["ru", "com", "co.uk", "ac.uk", "xn--p1ai"] {
        assert!(is_public_suffix(name), "{name}");
    }
    for name in ["example.com", "casino.example", "github.io", "bbc.co.uk"] {
        assert!(!is_public_suffix(name), "{name}");
    }
}
