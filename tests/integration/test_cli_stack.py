"""Commands about the stack and its bundles, and the command tree itself."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recstack import config
from recstack.bundle import BundleStore, required_files
from recstack.cli.app import app
from recstack.cli.demo import before_and_after
from recstack.client.types import FeatureStatus, Recommendation, RecommendationList, ScoreKind
from recstack.config import Settings
from recstack.local import LocalStack
from tests.helpers.bundles import write_hollow_bundle
from tests.helpers.standins import Standins, activate_hollow_bundle


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("RECSTACK_HOME", str(tmp_path))
    config.load_settings.cache_clear()
    yield tmp_path
    config.load_settings.cache_clear()


def run(words: str) -> Result:
    return CliRunner().invoke(app, words.split())


def publish(store: BundleStore, folder: Path, content: str) -> str:
    """A bundle whose files hold nothing but `content`."""
    rankers = {"dien": 0.75, "dcn": 0.25}
    write_hollow_bundle(folder, content, rankers)
    models, metrics = {"retrieval": "two_tower"}, {"dien/auc": 0.75}
    return store.publish(folder, dataset="tiny", models=models, rankers=rankers, metrics=metrics).version


@pytest.fixture
def store(home: Path) -> BundleStore:
    return BundleStore(str(home / "bundles"))


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from recstack.cli.app import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "print(result.output, *{'torch', 'ray', 'faiss', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *text, loaded = done.stdout.splitlines()
    assert loaded.split() == []
    for command in ("demo", "up", "status", "down", "recommend", "similar", "explain", "events", "bundle", "features"):
        assert any(f" {command} " in line for line in text), command


def test_the_trainers_commands_are_plugged_in() -> None:
    text = run("--help").output
    assert "Train models, and publish them as one bundle." in text
    assert "evaluate" in text


def test_bundles_from_publish_to_rollback(store: BundleStore, tmp_path: Path) -> None:
    assert "Make one with recstack train" in run("bundle list").output
    assert "no bundle is active" in run("bundle verify").stderr
    first = publish(store, tmp_path / "one", "1")
    second = publish(store, tmp_path / "two", "2")
    assert f"Bundle {first} is active" in run(f"bundle activate {first}").output
    assert run(f"bundle activate {second}").exit_code == 0
    listed = run("bundle list").output
    assert any("*" in line and second in line for line in listed.splitlines())
    assert not any("*" in line and first in line for line in listed.splitlines())
    assert (
        f"Bundle {second} is complete and intact: {len(required_files(['dien', 'dcn']))} files"
        in run("bundle verify").output
    )
    shown = run("bundle show").output
    assert "dien/auc" in shown
    assert "dien 0.75 + dcn 0.25" in shown
    assert f"bundle {first} is active again" in run("bundle rollback").output
    assert store.active() == first
    (tmp_path / "bundles" / second / "golden.npz").write_text("spoiled")
    result = run(f"bundle verify {second}")
    assert result.exit_code == 1
    assert "golden.npz" in result.stderr
    assert "published are:" in run("bundle show nonsense").stderr
    (tmp_path / "bundles" / second / "manifest.json").write_text('{"format": 1}')
    listed = run("bundle list").output
    assert first in listed
    assert f"{second} cannot be read: " in listed
    assert "has format 1" in listed


def test_a_bundle_folder_can_be_published_elsewhere(store: BundleStore, tmp_path: Path) -> None:
    other = BundleStore(str(tmp_path / "other"))
    version = publish(other, tmp_path / "one", "1")
    result = run(f"bundle publish {tmp_path / 'other' / version} --activate")
    assert "is published" in result.output
    active = store.active()
    assert active is not None
    assert store.verify(active).dataset == "tiny"


def test_without_a_stack_status_and_down_say_so() -> None:
    status = run("status")
    assert status.exit_code == 1
    assert "Start it with recstack up" in status.output
    assert "Nothing to stop" in run("down").output


def test_up_without_a_bundle_says_to_train() -> None:
    result = run("up")
    assert result.exit_code == 1
    assert "make one with `recstack train`" in result.stderr


def test_status_shows_a_running_stack(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = Settings(home=home)
    activate_hollow_bundle(settings)
    with LocalStack(settings, free_ports=True, services=(Standins(tmp_path).healthy("gateway"),)) as stack:
        status = run("status")
        assert status.exit_code == 0, status.output
        assert stack.settings.gateway.address in status.output
        assert "healthy" in status.output
        # The stand-in has no RecommenderService: that it answers at all shows that the command found it.
        assert "UNIMPLEMENTED" in run("recommend 42").stderr


def answer(*item_ids: int) -> RecommendationList:
    items = tuple(Recommendation(item_id, f"Item {item_id}", None, (), 0.5, ()) for item_id in item_ids)
    return RecommendationList(items, "", False, (), (), 0, {}, FeatureStatus.PRESENT, ScoreKind.LIKE_PROBABILITY)


def test_before_and_after_says_what_moved() -> None:
    table = before_and_after(answer(1, 2, 3, 4), answer(3, 2, 4, 9))
    before, after, moved = (list(column.cells) for column in table.columns[1:])
    assert before == ["Item 1", "Item 2", "Item 3", "Item 4"]
    assert after == ["Item 3", "Item 2", "Item 4", "Item 9"]
    assert moved == ["up 2", "[dim]same[/]", "up 1", "[green]new[/]"]
