"""Workers of an evaluation that are killed, wherever that is, leave what one worker does that nobody touched."""

from benchmarks import kill_workers


def test_workers_that_are_killed_and_begun_again_count_each_image_once_and_leave_the_same_report(tmp_path):
    one, four, killed = kill_workers.measure(kills=4, folder=tmp_path, seed=0)
    for result in (one, four, killed):
        assert result["exit_codes"] == [0] * len(result["exit_codes"]) and result["different"] == []
        assert result["each image once"] and result["compared"] > 200
    assert len(four["exit_codes"]) == len(killed["exit_codes"]) == 4
    assert sum(killed["kills"].values()) == 4
