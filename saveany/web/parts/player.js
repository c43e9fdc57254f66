// Plays videos and music with the browser's own player, and shows it to the system's media controls.
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button } from "./ui.js";

const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

/** @param {{kind: "video" | "audio", source: string, poster?: string, name: string, next?: () => void, previous?: () => void}} props */
export function Player({ kind, source, poster, name, next, previous }) {
  const ref = useRef(null);
  const [rate, setRate] = useState(1);
  const [problem, setProblem] = useState(false);
  useEffect(() => {
    setProblem(false);
    if (ref.current) ref.current.playbackRate = rate;
    const system = navigator.mediaSession;
    if (!system) return undefined;
    system.metadata = new MediaMetadata({ title: name, artwork: poster ? [{ src: new URL(poster, document.baseURI).href }] : [] });
    system.setActionHandler("nexttrack", next ?? null);
    system.setActionHandler("previoustrack", previous ?? null);
    return () => {
      system.metadata = null;
      system.setActionHandler("nexttrack", null);
      system.setActionHandler("previoustrack", null);
    };
  }, [source]);
  function press(event) {
    const media = ref.current;
    const jumps = { ArrowLeft: -10, ArrowRight: 10, j: -10, l: 10 };
    if (event.target === media || !media) return;
    if (event.key in jumps) media.currentTime += jumps[event.key];
    else if (event.key === " " && event.target.tagName !== "BUTTON") media.paused ? media.play() : media.pause();
    else return;
    event.preventDefault();
  }
  function choose(value) {
    setRate(value);
    ref.current.playbackRate = value;
  }
  const common = { ref, src: source, controls: true, preload: "metadata", onEnded: next, onError: () => setProblem(true), "aria-label": name };
  return html`<div class="player" onKeyDown=${press}>
    ${problem
      ? html`<p class="problem" role="alert"><${Icon} name="warning" /><span>${t("This browser cannot play the file. Download it, or make a link and open that in VLC or another player.")}</span></p>`
      : kind === "video"
        ? html`<video ...${common} poster=${poster} playsinline></video>`
        : html`<audio ...${common}></audio>`}
    ${!problem && html`<div class="player-bar">
      <label><span>${t("Speed")}</span> <select value=${String(rate)} onChange=${(event) => choose(Number(event.target.value))}>
        ${SPEEDS.map((each) => html`<option value=${String(each)}>${each}×</option>`)}</select></label>
      ${kind === "video" && document.pictureInPictureEnabled && html`<${Button} label=${t("Small window")} action=${() => ref.current.requestPictureInPicture()} />`}
    </div>`}</div>`;
}
