"""What was lost of meshes is still known to who goes on."""

from cmah.runs.kept_remarks import KeptRemarks


def test_each_remark_is_kept_once_and_a_torn_line_costs_itself_only(tmp_path):
    folder = tmp_path / "not made yet"
    first = KeptRemarks(folder)
    first.add([(3, "b"), (3, "a"), (3, "b")])
    with open(folder / "remarks.jsonl", "a") as file:
        file.write('\n[4, "to')  # a process was killed
    second = KeptRemarks(folder)
    second.add([(3, "a"), (5, "c\nd")])
    third = KeptRemarks(folder)
    assert [third.of(i) for i in (3, 4, 5)] == [["b", "a"], [], ["c\nd"]]
    assert (folder / "remarks.jsonl").read_text().count('"a"') == 1


def test_where_nothing_can_be_kept_they_are_in_memory(tmp_path):
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file"):
        remarks = KeptRemarks(folder)
        remarks.add([(0, "a")])
        assert remarks.of(0) == ["a"]
