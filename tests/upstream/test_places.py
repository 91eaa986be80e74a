"""Where a registry may lead those who ask it."""

import pytest

from moorage.upstream.places import NoPlace, find_realm, follow, follow_upload, is_same_site, parse_place


@pytest.mark.parametrize(
    ("host", "realm"),
    [
        ("registry-1.docker.io", "auth.docker.io"),
        ("docker.io", "auth.docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("quay.io", "quay.io"),
        ("registry.gitlab.com", "gitlab.com"),
        ("docker.elastic.co", "docker-auth.elastic.co"),
        ("eu.gcr.io", "eu.gcr.io"),
        ("REGISTRY.example.com", "auth.example.com."),
        ("registry.firm.co.uk", "auth.firm.co.uk"),
        ("registry.home.lan", "auth.home.lan"),
        ("acme.azurecr.io", "acme.azurecr.io"),
        ("10.0.0.1", "10.0.0.1"),
        ("registry", "registry"),
    ],
)
def test_realm_of_the_same_site_is_asked(host: str, realm: str) -> None:
    assert is_same_site(host, realm)
    assert find_realm(parse_place(f"https://{host}"), f"https://{realm}/token").host == realm.rstrip(".")


@pytest.mark.parametrize(
    ("host", "realm"),
    [
        ("ghcr.io", "evil.example"),
        ("registry.example.com", "example.com.evil.org"),
        ("registry.example.com", "evilexample.com"),
        ("registry.firm.co.uk", "evil.co.uk"),
        ("co.uk", "evil.co.uk"),
        ("acme.azurecr.io", "evil.azurecr.io"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", "evil.s3.amazonaws.com"),
        ("registry", "auth"),
        ("registry.lan", "auth.lan"),
        ("10.0.0.1", "10.0.0.2"),
        ("1.0.0.1", "2.0.0.1"),
        ("registry.0.1", "evil.0.1"),
        ("[2001:db8::1]", "[2001:db8::2]"),
    ],
)
def test_b111_realm_of_another_site_is_not(host: str, realm: str) -> None:
    with pytest.raises(NoPlace, match="another site"):
        find_realm(parse_place(f"https://{host}"), f"https://{realm}/token")


@pytest.mark.parametrize(
    "realm",
    [
        *("http://registry.example.com/token", "/token", "token", "", "//registry.example.com/token"),
        *("https://u:p@registry.example.com/t", "ftp://registry.example.com/", "https:///token"),
        *("https://evil.org\\@registry.example.com/", "https://registry.example.com:22/", "https://x y/"),
        "https://registry.example.com/" + "a" * 9000,
    ],
)
def test_b111_realm_that_is_no_https_is_not(realm: str) -> None:
    with pytest.raises(NoPlace):
        find_realm(parse_place("https://registry.example.com"), realm)


def test_realm_of_a_registry_that_is_asked_by_http_may_be_http() -> None:
    assert find_realm(parse_place("http://10.0.0.1:5000"), "http://10.0.0.1:5001/token").port == 5001


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "gopher://x/", "https://user@x/", "https://x:y@z/", "https://", "x", ""),
        *("https://x\\@y/", "https://x/\n", "https://x:99999/", "https://[::1/", "https://ä.example/"),
        "javascript:alert(1)",
    ],
)
def test_b110_what_is_no_place_is_not_asked(url: str) -> None:
    with pytest.raises(NoPlace):
        parse_place(url)


@pytest.mark.parametrize(
    ("location", "want"),
    [
        ("/v2/x?next=1", "https://registry.example:5000/v2/x?next=1"),
        ("next", "https://registry.example:5000/v2/a/next"),
        ("https://cdn.example/b?sig=a%2Fb%3D", "https://cdn.example/b?sig=a%2Fb%3D"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("https://cdn.example/b#part", "https://cdn.example/b"),
    ],
)
def test_redirect_is_followed_as_it_is_spelled(location: str, want: str) -> None:
    assert follow(parse_place("https://registry.example:5000/v2/a/b"), location).url == want


@pytest.mark.parametrize(
    "location",
    [
        *("http://registry.example/", "https://cdn.example:22/", "https://cdn.example:25/b"),
        *("https://u@cdn.example/", "file:///etc/passwd", "ftp://cdn.example/"),
    ],
)
def test_b109_redirect_to_where_it_is_less_safe_is_not_followed(location: str) -> None:
    with pytest.raises(NoPlace):
        follow(parse_place("https://registry.example/v2/"), location)


@pytest.mark.parametrize(
    "location",
    [
        "/v2/a/blobs/uploads/1?_state=x%3D",
        "https://registry.example:5000/v2/a/blobs/uploads/1?_state=x%3D",
        "http://registry.example/v2/a/blobs/uploads/1?_state=x%3D",
        "http://registry.example:5000/v2/a/blobs/uploads/1?_state=x%3D",
    ],
)
def test_upload_goes_on_by_https_though_the_registry_forgets_that(location: str) -> None:
    place = follow_upload(parse_place("https://registry.example:5000/v2/a/blobs/uploads/"), location)

    assert place.url == "https://registry.example:5000/v2/a/blobs/uploads/1?_state=x%3D"


def test_upload_does_not_go_on_elsewhere_by_http() -> None:
    with pytest.raises(NoPlace):
        follow_upload(parse_place("https://registry.example/v2/"), "http://other.example/upload")
