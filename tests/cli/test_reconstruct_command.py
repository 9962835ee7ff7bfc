"""`mae reconstruct` as a person meets it."""

import shutil

from failing import assert_fails
from PIL import Image


def test_reconstruct_draws_a_row_for_each_photograph_and_ratio(mae, trained, photos, tmp_path):
    files = sorted(photos.iterdir())[:2]
    out = tmp_path / "out.png"
    code, text, err = mae(
        "reconstruct", trained, *files, "-o", out, "--mask-ratio", "0.5", "--mask-ratio", "0.8", "--seed", "3"
    )
    assert code == 0, err
    assert text == f"{out}: 4 rows\n"
    first = out.read_bytes()
    again = ["reconstruct", trained, *files, "-o", out, "--mask-ratio", "0.5", "--mask-ratio", "0.8", "--overwrite"]
    mae(*again, "--seed", "3")
    assert out.read_bytes() == first
    mae(*again, "--seed", "4")
    assert out.read_bytes() != first


def test_reconstruct_takes_a_checkpoint_file_a_folder_of_files_and_no_input(mae, trained, photos, tmp_path):
    checkpoint = next((trained / "checkpoints").iterdir())
    assert mae("reconstruct", checkpoint, photos, "-o", tmp_path / "folder.png")[1].endswith(": 24 rows\n")
    assert mae("reconstruct", trained, "-o", tmp_path / "examples.png")[1].endswith(": 4 rows\n")
    with Image.open(tmp_path / "examples.png") as picture:
        assert picture.width > picture.height / 2


def test_reconstruct_refuses_what_it_cannot_read(mae, trained, tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear reader")
    assert_fails(mae("reconstruct", trained, letter), str(letter))
    assert_fails(mae("reconstruct", trained, tmp_path / "absent.jpg"), "absent.jpg")
    assert_fails(mae("reconstruct", trained, "--mask-ratio", "1.5"), "masker.ratio: 1.5 is not allowed")
    assert_fails(mae("reconstruct", tmp_path / "nowhere", letter), "there is no checkpoint", "nowhere")
    assert_fails(mae("reconstruct", tmp_path, letter), "is a folder without checkpoints/step-*.pt")


def test_reconstruct_goes_on_past_bad_files_of_a_folder_and_names_them(mae, trained, photos, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder)
    (folder / "letter.jpg").write_text("Dear reader")
    code, out, err = mae("reconstruct", trained, folder, "-o", tmp_path / "out.png")
    assert code == 0
    assert out.endswith(": 24 rows\n")
    assert f"left out: {folder / 'letter.jpg'}" in err
    for photo in photos.iterdir():
        (folder / photo.name).unlink()
    assert_fails(mae("reconstruct", trained, folder, "-o", tmp_path / "none.png"), "none of the files can be read")


def test_reconstruct_destroys_no_file(mae, trained, photos, tmp_path):
    photo = tmp_path / "photo.png"
    Image.open(next(photos.iterdir())).save(photo)
    (tmp_path / "note.png").write_text("to be kept")
    for output, reason in {
        photo: "it is what the command reads",
        tmp_path / "photo.jpg": "must end in .png",
        trained / "pictures" / "mine.png": f"lies in the folder of the run {trained}",
        tmp_path / "note.png": "replace it with --overwrite",
        tmp_path: "must end in .png",
    }.items():
        assert_fails(mae("reconstruct", trained, photo, "-o", output), str(output), reason)
    assert (tmp_path / "note.png").read_text() == "to be kept"
    with Image.open(photo) as image:
        image.load()


def test_reconstruct_without_a_name_takes_a_free_one(mae, trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = next(photos.iterdir())
    names = [mae("reconstruct", trained, photo)[1].partition(":")[0] for _ in range(3)]
    assert names == ["reconstruction.png", "reconstruction-2.png", "reconstruction-3.png"]
    assert all((tmp_path / name).is_file() for name in names)
