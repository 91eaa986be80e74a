"""People sign in at a real provider, in a browser that keeps cookies and follows redirects."""

import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from moorage.clock import now_ms
from moorage.database import Transaction
from moorage.identity.access.rows import insert_namespace
from moorage.identity.accounts.rows import find_account_of, insert_account, update_account
from moorage.oci.names import RepositoryName
from moorage.registry.repositories.rows import add_alias, ensure_repository, put_in_trash
from tests.federation.conftest import START, Serve, Server
from tests.federation.provider import Browser, Provider
from tests.federation.registry import Registry, basic
from tests.servers import ServerProcess

CALLBACK = "/sign-in/callback"


@pytest.fixture
def browser() -> Browser:
    return Browser()


def secret_on(text: str) -> str:
    return next(line for line in text.replace("<pre>", "").split("</pre>") if "moor_" in line).split()[-1]


def test_person_comes_in_with_a_token_for_docker(server: ServerProcess, browser: Browser) -> None:
    page = browser.sign_in(f"{server.url}/sign-in", "alice")

    assert page.status == 200
    assert f"docker login -u alice {server.address}" in page.text
    secret = secret_on(page.text)
    registry = Registry(server)
    assert registry.send("POST", "/v2/alice/app/blobs/uploads/", b"", basic("alice", secret)).status == 202
    assert registry.send("POST", "/v2/bob/app/blobs/uploads/", b"", basic("alice", secret)).status == 403
    assert registry.bearer("alice", secret, "repository:alice/app:pull,push").status == 200


def test_person_who_comes_again_is_the_same(server: ServerProcess) -> None:
    pages = [Browser().sign_in(f"{server.url}/sign-in", "carol") for _ in range(2)]

    assert [page.status for page in pages] == [200, 200]
    assert secret_on(pages[0].text) != secret_on(pages[1].text)


def test_public_client_needs_no_secret(serve: Serve, own_provider: Provider, browser: Browser) -> None:
    registry = serve(own_provider.issuer, client="moorage-public", extra="")

    assert browser.sign_in(f"{registry.url}/sign-in", "alice").status == 200


def test_wrong_client_secret_is_told_to_the_operator(
    serve: Serve, own_provider: Provider, browser: Browser
) -> None:
    registry = serve(own_provider.issuer, secret="another")

    assert browser.sign_in(f"{registry.url}/sign-in", "alice").status == 403
    assert registry.server.wait_for_event("code_refused", reason="invalid_client")


def test_pages_have_no_script_and_are_kept_by_no_one(server: ServerProcess, browser: Browser) -> None:
    page = browser.sign_in(f"{server.url}/sign-in", "dave")

    assert set(page.headers["Content-Security-Policy"].split("; ")) == {
        "default-src 'none'",
        "style-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    }
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert "<script" not in page.text
    assert "style=" not in page.text


def test_way_to_the_provider_has_state_nonce_and_challenge(server: ServerProcess, browser: Browser) -> None:
    page = browser.ask(f"{server.url}/sign-in")

    assert page.status == 303
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(page.headers["Location"]).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [server.url + CALLBACK]
    assert min(len(query[name][0]) for name in ("state", "nonce", "code_challenge")) >= 43
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("moorage-sign-in=")
    assert cookie.endswith("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax")
    assert not any(query[name][0] in cookie for name in ("state", "nonce", "code_challenge"))


def test_cookie_under_https_is_the_host_s_alone(
    own: Server, own_provider: Provider, browser: Browser
) -> None:
    settings = '[server]\nproxies = ["127.0.0.1"]\n' + START
    server = own.start(own_provider.issuer, settings=settings)
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}

    cookie = browser.ask(f"{server.url}/sign-in", headers=headers).headers["Set-Cookie"]

    assert cookie.startswith("__Host-moorage-sign-in=")
    assert cookie.endswith("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure")
    # and over a plain line that someone may listen on there is none
    plain = browser.ask(f"{server.url}/sign-in", headers={"X-Forwarded-For": "192.0.2.1"})
    assert (plain.status, plain.headers["Set-Cookie"]) == (401, None)


def test_address_is_good_for_one_return(server: ServerProcess, browser: Browser) -> None:
    back = browser.sign_in(f"{server.url}/sign-in", "erin", until=server.url + CALLBACK)
    cookies = browser.header(server.url)

    assert browser.ask(back.url, headers=cookies).status == 200
    again = browser.ask(back.url, headers=cookies)
    assert again.status == 403
    assert "was used" in again.text


def test_address_is_of_no_use_in_another_browser(server: ServerProcess, browser: Browser) -> None:
    back = browser.sign_in(f"{server.url}/sign-in", "frank", until=server.url + CALLBACK)

    page = Browser().ask(back.url)

    assert page.status == 403
    assert "another browser" in page.text


def test_other_browser_s_own_sign_in_does_not_help(server: ServerProcess, browser: Browser) -> None:
    back = browser.sign_in(f"{server.url}/sign-in", "frank", until=server.url + CALLBACK)
    other = Browser()
    other.ask(f"{server.url}/sign-in")

    assert other.ask(back.url).status == 403


def test_code_of_another_visit_is_refused_by_the_verifier(server: ServerProcess, browser: Browser) -> None:
    stolen = Browser().sign_in(f"{server.url}/sign-in", "victim", until=server.url + CALLBACK)
    own = browser.sign_in(f"{server.url}/sign-in", "mallory", until=server.url + CALLBACK)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(stolen.url).query)["code"][0]
    parts = urllib.parse.urlsplit(own.url)
    query = dict(urllib.parse.parse_qsl(parts.query)) | {"code": code}

    page = browser.ask(parts._replace(query=urllib.parse.urlencode(query)).geturl())

    assert page.status == 403
    assert "code" in page.text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"iss": "https://evil.example"}, "another one replied"),
        ({"error": "<script>alert(1)</script>"}, "did not sign you in"),
        ({"code": ""}, "no code"),
        ({"state": "x"}, "never began"),
        ({"state": ""}, "never began"),
    ],
    ids=str,
)
def test_return_with_something_else_is_refused(
    server: ServerProcess, browser: Browser, change: dict[str, str], word: str
) -> None:
    back = browser.sign_in(f"{server.url}/sign-in", "grace", until=server.url + CALLBACK)
    parts = urllib.parse.urlsplit(back.url)
    query = dict(urllib.parse.parse_qsl(parts.query)) | change

    page = browser.ask(parts._replace(query=urllib.parse.urlencode(query)).geturl())

    assert page.status == 403
    assert word in page.text
    assert "<script" not in page.text


def test_return_with_a_field_twice_is_refused(server: ServerProcess, browser: Browser) -> None:
    assert browser.ask(f"{server.url}{CALLBACK}?state=a&state=b&code=c").status == 403


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE"])
def test_pages_are_got_and_nothing_else(server: ServerProcess, method: str) -> None:
    assert Registry(server).send(method, "/sign-in").status == 405


def test_one_address_has_twenty_sign_ins_open(serve: Serve, own_provider: Provider, browser: Browser) -> None:
    registry = serve(own_provider.issuer)

    statuses = [browser.ask(f"{registry.url}/sign-in").status for _ in range(21)]

    assert statuses == [303] * 20 + [429]


def test_without_a_provider_there_is_no_page(serve: Serve, browser: Browser) -> None:
    registry = serve("https://issuer.example", settings="")

    assert browser.ask(f"{registry.url}/sign-in").status == 404
    assert browser.ask(f"{registry.url}{CALLBACK}").status == 404


def test_provider_that_is_down_is_a_503(serve: Serve, own_provider: Provider, browser: Browser) -> None:
    registry = serve(own_provider.issuer)
    own_provider.stop()

    page = browser.ask(f"{registry.url}/sign-in")

    assert page.status == 503
    assert "try again later" in page.text


def taken_name(tx: Transaction) -> None:
    insert_account(tx, "alice", "test")


def look_alike(tx: Transaction) -> None:
    insert_account(tx, "a1ice", "test")


def taken_namespace(tx: Transaction) -> None:
    insert_namespace(tx, "alice", "test")


def repositories(tx: Transaction) -> None:
    ensure_repository(tx, RepositoryName("alice/app"))


def deleted_repository(tx: Transaction) -> None:
    put_in_trash(tx, ensure_repository(tx, RepositoryName("alice/app")), "test", now_ms() + 86_400_000)


def old_name_of_a_repository(tx: Transaction) -> None:
    repository_id = ensure_repository(tx, RepositoryName("team/app"))
    add_alias(tx, repository_id, RepositoryName("alice/app"), now_ms() + 86_400_000)


@pytest.mark.parametrize(
    "work",
    [
        taken_name,
        look_alike,
        taken_namespace,
        repositories,
        deleted_repository,
        old_name_of_a_repository,
    ],
)
def test_name_that_means_something_already_is_given_to_no_one(
    serve: Serve, own_provider: Provider, browser: Browser, work: Callable[[Transaction], Any]
) -> None:
    registry = serve(own_provider.issuer, work)

    page = browser.sign_in(f"{registry.url}/sign-in", "alice")

    assert page.status == 403
    assert "ask an administrator" in page.text
    assert [row[1] for row in registry.audit("sign-in")] == ["denied"]


def test_name_that_cannot_be_one_is_refused(server: ServerProcess, browser: Browser) -> None:
    page = browser.sign_in(f"{server.url}/sign-in", "Alice@Example.com")

    assert page.status == 403
    assert "cannot be a name" in page.text


def test_account_is_made_only_where_the_settings_say_so(
    serve: Serve, own_provider: Provider, browser: Browser
) -> None:
    settings = START.replace("create_accounts = true", "create_accounts = false")

    registry = serve(own_provider.issuer, settings=settings)

    assert browser.sign_in(f"{registry.url}/sign-in", "alice").status == 403


def test_sign_in_makes_no_first_account(serve: Serve, own_provider: Provider, browser: Browser) -> None:
    registry = serve(own_provider.issuer, first=lambda _: None)

    page = browser.sign_in(f"{registry.url}/sign-in", "alice")

    assert page.status == 403
    assert "no administrator" in page.text
    assert registry.send("GET", "/v2/").status == 200


def test_account_is_found_by_its_subject_and_not_by_its_name(
    serve: Serve, own_provider: Provider, browser: Browser
) -> None:
    def known(tx: Transaction) -> None:
        insert_account(tx, "alice.smith", "test", identity=(own_provider.issuer, "alice"))

    settings = START.replace("create_accounts = true", "create_accounts = false")

    page = browser.sign_in(f"{serve(own_provider.issuer, known, settings=settings).url}/sign-in", "alice")

    assert page.status == 200
    assert "docker login -u alice.smith" in page.text


def test_disabled_account_stays_out(serve: Serve, own_provider: Provider, browser: Browser) -> None:
    def disabled(tx: Transaction) -> None:
        insert_account(tx, "alice", "test", identity=(own_provider.issuer, "alice"))
        account = find_account_of(tx, own_provider.issuer, "alice")
        assert account is not None
        update_account(tx, account.id, is_disabled=True)

    page = browser.sign_in(f"{serve(own_provider.issuer, disabled).url}/sign-in", "alice")

    assert page.status == 403
    assert "is disabled" in page.text
