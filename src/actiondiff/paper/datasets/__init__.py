"""The paper's datasets: Animal Kingdom, Charades-Ego and UCF-HMDB."""
