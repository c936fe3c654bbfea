"""Images from a real registry: by policy, with credentials, once however many ask, and every way of not getting one."""

from __future__ import annotations

import subprocess

import pytest
import trio

from faasd_py.api import ConfigError
from faasd_py_podman.image import make_plan
from faasd_py_podman.rest import PodmanError

from . import registries
from .store import IMAGE

pytestmark = pytest.mark.skipif(bool(registries.MISSING), reason=registries.MISSING)


@pytest.fixture
def registry(box):
    with registries.registry(box.directory / "registry") as opened:
        yield opened


def push(box, registry, name="f:1", image=IMAGE) -> str:
    """The image's name at the registry; it is not on this box under that name."""
    target = f"{registry.address}/team/{name}"
    box.store.podman(
        "push",
        "--tls-verify=false",
        "--authfile",
        str(registry.auth_file),
        "--format=v2s2",
        image,
        f"docker://{target}",
    )
    return target


def options(registry, **more):
    return {"insecure_registries": [registry.address], **more}


async def test_pulled_when_it_is_missing_and_not_again(box, registry):
    """Ten functions that want it at once pull it once; then the registry is not asked."""
    name = push(box, registry)
    ids = set()
    async with box.podman(**options(registry)) as podman:

        async def get():
            ids.add(await podman.images.get(name, "missing"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(get)
        assert len(ids) == 1
        assert podman.images._turns == {}
    unreachable = {"insecure_registries": []}
    async with box.podman(**unreachable) as podman:
        assert (await make_plan(box.site(podman, image=name))).image in ids
        with pytest.raises(ConfigError, match=r"functions\.f\.image: image .* cannot be pulled: .*"):
            async with box.podman(**unreachable, pull="always") as asking:
                await make_plan(box.site(asking, image=name))


async def test_a_new_image_under_an_old_name(box, registry):
    """`pull = "always"` finds it, "missing" stays with the old one; "never" does not pull at all."""
    name = push(box, registry, "g:1")
    async with box.podman(**options(registry)) as podman:
        first = (await make_plan(box.site(podman, image=name))).image
        push(box, registry, "g:1", _own(box))
        assert (await make_plan(box.site(podman, image=name))).image == first
    async with box.podman(**options(registry, functions={"f": {"pull": "always"}})) as podman:
        assert (await make_plan(box.site(podman, image=name))).image != first
    async with box.podman(**options(registry, pull="never")) as podman:
        with pytest.raises(ConfigError, match=r'image .*/h:1 is not on this box, and pull = "never"'):
            await make_plan(box.site(podman, image=push(box, registry, "h:1")))


async def test_one_that_was_removed_is_pulled_again(box, registry):
    """When the next container is started, whatever the policy but "never" says."""
    name = push(box, registry, "r:1", image=_own(box))
    async with box.podman(**options(registry)) as podman:
        async with box.container(podman, image=name):
            pass
        box.store.podman("rmi", "--force", name)
        async with box.container(podman, number=2, image=name):
            pass


def _own(box) -> str:
    """An image with the same content and another id, so that removing it leaves the tests' own alone."""
    box.store.podman("create", "--name", "changed", IMAGE)
    try:
        box.store.podman("commit", "--change", "ENV own=1", "changed", "localhost/own:1")
    finally:
        box.store.podman("rm", "changed")
    return "localhost/own:1"


async def test_credentials(box):
    """A registry with a password: refused without, pulled with those of the auth file."""
    with registries.registry(box.directory / "closed", closed=True) as closed:
        name = push(box, closed, "secret:1")
        async with box.podman(**options(closed)) as podman:
            with pytest.raises(
                ConfigError, match=r"cannot be pulled: .*(unauthorized|authentication required)"
            ):
                await make_plan(box.site(podman, image=name))
        async with box.podman(**options(closed, auth_file=str(closed.auth_file))) as podman:
            assert (await make_plan(box.site(podman, image=name))).image
        async with box.podman(**options(closed, auth_file="/no/such")) as podman:
            with pytest.raises(ConfigError, match=r"runtimes\.podman\.auth_file: /no/such cannot be read"):
                await make_plan(box.site(podman, image=f"{closed.address}/team/none:1"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("team/none:1", "manifest unknown|name unknown|not found"),
        ("team/f:no-such-tag", "manifest unknown|not found"),
        ("Team/F:1", "must be lowercase|invalid reference"),
    ],
)
async def test_an_image_that_there_is_not(box, registry, name, words):
    """Is said in podman's words."""
    push(box, registry)
    async with box.podman(**options(registry)) as podman:
        with pytest.raises(ConfigError, match=rf"functions\.f\.image: .*({words})"):
            await make_plan(box.site(podman, image=f"{registry.address}/{name}"))


async def test_a_full_disk(box, registry):
    """Is podman's reason, and the function's."""
    name = push(box, registry)
    root = box.directory / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(root)], check=True)
    try:
        places = [f"--{option}={root / option}" for option in ("root", "runroot")]
        async with box.podman(**options(registry, command=["podman", *places])) as podman:
            with pytest.raises(ConfigError, match=r"functions\.f\.image: .* no space left on device"):
                await make_plan(box.site(podman, image=name))
    finally:
        subprocess.run(["umount", "--recursive", str(root)], check=True)


async def test_a_registry_that_is_down(box):
    """Is a reason like any other, within seconds."""
    async with box.podman(insecure_registries=["127.0.0.1:9"]) as podman:
        with trio.fail_after(60), pytest.raises(PodmanError, match="connection refused"):
            await podman.images.get("127.0.0.1:9/f:1", "missing")
