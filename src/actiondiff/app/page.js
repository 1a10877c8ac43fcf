// Seeks the video: a click on a track, or on a button with a time, jumps to that time. The line in the tracks
// (.ad-head) follows the video.
(() => {
  const player = () => document.querySelector("[data-player]");
  const end = () => Number(document.querySelector(".ad-findings")?.dataset.end || 0);

  const follow = () => {
    const video = player();
    if (!video || !end()) return;
    const share = Math.min(1, video.currentTime / end());
    document.querySelectorAll(".ad-head").forEach((head) => { head.style.left = `${100 * share}%`; });
  };

  const go = (seconds) => {
    const video = player();
    if (!video) return;
    video.currentTime = Math.min(seconds, Number.isFinite(video.duration) ? video.duration : seconds);
    follow();
  };

  document.addEventListener("click", (event) => {
    const track = event.target.closest("[data-track]");
    if (track && event.detail) { // a click of the pointer jumps to its position, also inside a bout
      const box = track.getBoundingClientRect();
      go((end() * (event.clientX - box.left)) / box.width);
      return;
    }
    const button = event.target.closest("[data-seconds]");
    if (button) go(Number(button.dataset.seconds));
  });
  for (const name of ["timeupdate", "seeked", "seeking", "loadedmetadata"]) {
    document.addEventListener(name, follow, true);
  }
})();
