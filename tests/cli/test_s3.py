"""Shards in a bucket of an S3 server on this machine. Needs s3fs and moto: `make s3-test`."""

import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from running import assert_same_bits, interrupt_at, run
from safetensors.torch import load_file

from mae_core import load_config
from mae_core.training.interrupts import Interrupted

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def server():
    """The address of a server that keeps its buckets in memory."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        yield next(line.split()[-1] for line in process.stdout if "Running on" in line)
        process.kill()


@pytest.fixture
def bucket(server, monkeypatch):
    """The address of an empty bucket."""
    _say(server, "reset")
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    files().mkdir("bucket")
    yield "s3://bucket"
    _say(server, "reset-auth", "inf")
    s3fs.S3FileSystem.clear_instance_cache()


def files():
    return s3fs.S3FileSystem(use_listings_cache=False)


def _say(server, what, data=""):
    """To the server itself."""
    with urlopen(Request(f"{server}/moto-api/{what}", data.encode(), {"Content-Type": "text/plain"})) as answer:
        assert answer.status == 200


def test_a_run_goes_on_from_files_to_a_bucket_in_the_middle_of_an_epoch(mae, bucket, tiny_recipe, photos, tmp_path):
    code, out, err = mae("shards", "make", photos, "-o", f"{bucket}/photos", "--workers", 2)
    assert code == 0, err
    assert f"{bucket}/photos: 24 samples in 1 shard" in out
    assert sorted(files().ls("bucket/photos", detail=False)) == [
        f"bucket/photos/{name}" for name in ("000000.tar", "index.safetensors", "shards.json")
    ]
    on_files = load_config(tiny_recipe, ["train.epochs=2"])
    run(on_files, tmp_path / "whole")
    with pytest.raises(Interrupted, match="interrupted after step 2 of 6"):
        run(on_files, tmp_path / "parts", on_step=interrupt_at(1))
    there = ["train.epochs=2", f"data.image.root={bucket}/photos"]
    in_workers = load_config(tiny_recipe, [*there, "train.num_workers=2"])  # forked, with connections of their own
    with pytest.raises(Interrupted, match="interrupted after step 4 of 6"):
        run(in_workers, tmp_path / "parts", resume=True, on_step=interrupt_at(3))
    run(load_config(tiny_recipe, [*there, f"data.image.cache={tmp_path}/cache"]), tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "encoder.safetensors") for name in ("whole", "parts"))
    assert_same_bits(whole, parts)
    assert len(list(tmp_path.glob("cache/*/000000.tar"))) == 1


def test_no_bucket_is_made(mae, bucket, photos):
    code, _, err = mae("shards", "make", photos, "-o", "s3://buckett/photos")
    assert code == 1
    assert "there is no bucket buckett" in err
    assert not files().exists("buckett")


def test_a_folder_may_be_marked_and_what_it_holds_is_asked_anew(mae, bucket, photos):
    files().pipe_file("bucket/photos/", b"")  # as the console's button for new folders does
    make = ("shards", "make", photos, "-o", f"{bucket}/photos")
    assert mae(*make)[0] == 0
    assert mae(*make)[0] == 1
    assert mae(*make, "--overwrite")[0] == 0
    assert mae("shards", "check", f"{bucket}/photos")[0] == 0
    shard = files().cat_file("bucket/photos/000000.tar")
    files().rm_file("bucket/photos/000000.tar")
    code, _, err = mae("shards", "check", f"{bucket}/photos")
    assert code == 1
    assert "1 of 1 shards are missing in s3://bucket/photos: 000000.tar" in err
    files().pipe_file("bucket/photos/000000.tar", shard)
    assert mae("shards", "check", f"{bucket}/photos")[0] == 0


def test_what_is_refused(mae, bucket, server, photos, tmp_path, monkeypatch):
    files().pipe_file("bucket/other/notes.txt", b"notes")
    for arguments, problem in (
        (["make", photos, "-o", "s3://"], "s3:// names no folder"),
        (["make", photos, "-o", f"{bucket}/other"], "other files than shards (notes.txt)"),
        (["make", f"{bucket}/other", "-o", tmp_path, "--modality", "image"], "at an address, data must be shards"),
        (["check", f"{bucket}/none"], "shards.json cannot be read: No such file"),
        (["check", "s3://buckett/none"], "s3://buckett/none/shards.json cannot be read"),
        (["index", f"{bucket}/other", "--modality", "image"], "archives are indexed on this machine"),
    ):
        code, _, err = mae("shards", *arguments)
        assert code == 1
        assert problem in err
        assert "Traceback" not in err
    _say(server, "reset-auth", "0")  # from now on, the server does not know these keys
    for arguments, problem in (
        (["make", photos, "-o", f"{bucket}/photos"], "cannot be listed: The AWS Access Key Id"),
        (["check", f"{bucket}/photos"], "give the keys of an account that may read it"),
    ):
        code, _, err = mae("shards", *arguments)
        assert code == 1
        assert problem in err
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("mae_core.data.ranges.PAUSES", (1000,))  # what is certain is not tried again
    s3fs.S3FileSystem.clear_instance_cache()
    code, _, err = mae("shards", "check", f"{bucket}/photos")
    assert code == 1
    assert "NoCredentialsError" in err
