// The image on which a mask is corrected. The mask is a canvas of the image's size. After each stroke it is sent to the
// server as COCO's run lengths (column by column), and it is read back from there whenever another region is shown.
const COLORS = { "": "#e5009d", accept: "#0f9d58", reject: "#7a7f87", known: "#3b6ea5" };

export default {
  template: `
    <div class="editor" ref="frame" tabindex="-1">
      <canvas ref="canvas" :class="tool" @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="up"
        @pointerleave="at = null; draw()" @dblclick="close" @wheel.prevent="wheel" @contextmenu.prevent></canvas>
    </div>`,
  props: { view: Object, name: String, tool: String, radius: Number },
  data: () => ({ at: null, points: [], zoomed: false }),
  watch: {
    view(now, before) {  // a stroke in progress, or on its way to the server, is newer than this view
      if (now.region === before.region && (this.stroke || this.sending || this.points.length)) this.draw();
      else this.show();
    },
    tool() { this.cancel(); this.segment(); },
    radius() { this.draw(); },
  },
  mounted() {
    this.mask = document.createElement("canvas");
    this.image = new Image();
    this.sending = 0;
    this.last = Promise.resolve();
    this.resizes = new ResizeObserver(() => this.draw());
    this.resizes.observe(this.$refs.frame);
    this.show();
  },
  unmounted() { this.resizes.disconnect(); },
  methods: {
    async show() {
      const { image, size: [height, width], counts, region } = this.view;
      this.cancel();
      this.stroke = null;
      this.$refs.frame.dataset.ready = "";
      const src = `/images/${image}.jpg`;
      if (!this.image.src.endsWith(src)) {
        this.image = new Image();
        this.image.src = src;
        try { await this.image.decode(); } catch { this.$emit("refused", "The image cannot be shown; is its file gone?"); }
      }
      if (this.view.region !== region) return;
      this.mask.width = width;
      this.mask.height = height;
      const pixels = new ImageData(width, height);
      let at = 0;
      counts.forEach((count, i) => {
        if (i % 2) for (let k = at; k < at + count; k++) pixels.data[4 * ((k % height) * width + Math.floor(k / height)) + 3] = 255;
        at += count;
      });
      this.pen = this.mask.getContext("2d", { willReadFrequently: true });
      this.pen.putImageData(pixels, 0, 0);
      this.draw();
      this.$refs.frame.dataset.ready = region;
      this.segment();
    },
    async segment() {  // read the segments of the image once they are needed: their ids, a byte each in red, green and blue
      const { image } = this.view, src = `/segments/${image}.png`;
      if (this.tool !== "segment" || this.segments?.src === src) return;
      const segments = this.segments = { src }, png = new Image();
      png.src = src;
      try { await png.decode(); } catch {
        this.segments = null;
        return this.$emit("refused", "The segments cannot be read; is the image's file gone?");
      }
      const { naturalWidth: width, naturalHeight: height } = png;
      const canvas = Object.assign(document.createElement("canvas"), { width, height }), ctx = canvas.getContext("2d");
      ctx.drawImage(png, 0, 0);
      const bytes = ctx.getImageData(0, 0, width, height).data;
      const ids = Uint32Array.from({ length: width * height }, (_, i) => bytes[4 * i] + 256 * bytes[4 * i + 1] + 65536 * bytes[4 * i + 2]);
      Object.assign(segments, { canvas, ids, id: -1 });
      this.$refs.frame.dataset.segments = image;
      this.draw();
    },
    under() {  // a canvas with the segment under the pointer, of the size at which the image was segmented
      const { canvas, ids } = this.segments || {}, [height, width] = this.view.size;
      if (!ids || !this.at) return null;
      const x = Math.floor(this.at[0] * canvas.width / width), y = Math.floor(this.at[1] * canvas.height / height);
      if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return null;
      const id = ids[y * canvas.width + x];
      if (id !== this.segments.id) {
        const pixels = new ImageData(canvas.width, canvas.height);
        ids.forEach((other, i) => { if (other === id) pixels.data.set([255, 255, 255, 255], 4 * i); });
        canvas.getContext("2d").putImageData(pixels, 0, 0);
        this.segments.id = id;
      }
      return canvas;
    },
    place() {  // of the image in the canvas: scale, left, top
      const { clientWidth: w, clientHeight: h } = this.$refs.frame, [height, width] = this.view.size;
      let [x, y, bw, bh] = [0, 0, width, height];
      if (this.zoomed) {
        const margin = 0.4 * Math.max(this.view.box[2], this.view.box[3]) + 8;
        [x, y, bw, bh] = [this.view.box[0] - margin, this.view.box[1] - margin, this.view.box[2] + 2 * margin, this.view.box[3] + 2 * margin];
      }
      const scale = Math.min(w / bw, h / bh);
      return { scale, left: (w - bw * scale) / 2 - x * scale, top: (h - bh * scale) / 2 - y * scale };
    },
    draw() {
      const canvas = this.$refs.canvas, { clientWidth: w, clientHeight: h } = this.$refs.frame;
      if (!canvas || !w || !this.pen) return;
      const ratio = window.devicePixelRatio || 1, [height, width] = this.view.size;
      canvas.width = w * ratio;
      canvas.height = h * ratio;
      const { scale, left, top } = this.place(), box = [left, top, width * scale, height * scale];
      const ctx = canvas.getContext("2d");
      ctx.scale(ratio, ratio);
      if (this.image.naturalWidth) ctx.drawImage(this.image, ...box);
      ctx.drawImage(this.layer(w, h, ratio, box), 0, 0, w, h);
      if (this.points.length) {
        ctx.strokeStyle = ctx.fillStyle = this.tool === "erase" ? "#fff" : COLORS.accept;
        ctx.lineWidth = 2;
        ctx.beginPath();
        for (const [x, y] of [...this.points, ...(this.at ? [this.at] : [])]) ctx.lineTo(left + x * scale, top + y * scale);
        ctx.stroke();
        for (const [x, y] of this.points) ctx.fillRect(left + x * scale - 3, top + y * scale - 3, 6, 6);
      } else if (this.tool === "segment") {
        const canvas = this.under();
        ctx.globalAlpha = 0.45;
        if (canvas) ctx.drawImage(canvas, ...box);
      } else if (this.at && this.tool !== "polygon") {
        for (const [color, wide] of [["#000a", 3], ["#fff", 1.5]]) {
          ctx.strokeStyle = color;
          ctx.lineWidth = wide;
          ctx.beginPath();
          ctx.arc(left + this.at[0] * scale, top + this.at[1] * scale, this.radius, 0, 7);
          ctx.stroke();
        }
      }
    },
    layer(w, h, ratio, box) {  // the mask, tinted and outlined at the resolution of the screen
      const layer = Object.assign(document.createElement("canvas"), { width: w * ratio, height: h * ratio });
      const ctx = layer.getContext("2d");
      ctx.scale(ratio, ratio);
      ctx.imageSmoothingEnabled = false;
      const put = (dx, dy) => ctx.drawImage(this.mask, box[0] + dx, box[1] + dy, box[2], box[3]);
      for (let i = 0; i < 16; i++) put(2.5 * Math.cos(i * Math.PI / 8), 2.5 * Math.sin(i * Math.PI / 8));
      ctx.globalCompositeOperation = "destination-out";
      put(0, 0);
      ctx.globalCompositeOperation = "source-over";
      ctx.globalAlpha = ["reject", "known"].includes(this.view.action) ? 0.15 : 0.32;
      put(0, 0);
      ctx.globalAlpha = 1;
      ctx.globalCompositeOperation = "source-in";
      ctx.fillStyle = COLORS[this.view.action] || COLORS[""];
      ctx.fillRect(0, 0, w, h);
      return layer;
    },
    where(event) {
      const { left: x, top: y } = this.$refs.canvas.getBoundingClientRect(), { scale, left, top } = this.place();
      return [(event.clientX - x - left) / scale, (event.clientY - y - top) / scale];
    },
    down(event) {
      if (event.button || !this.pen) return;
      this.at = this.where(event);
      if (this.tool === "polygon") {
        const first = this.points[0], { scale } = this.place();
        if (this.points.length > 2 && Math.hypot(first[0] - this.at[0], first[1] - this.at[1]) * scale < 12) return this.close();
        this.points.push(this.at);
        this.$emit("begun", true);
        return this.draw();
      }
      if (this.tool === "segment") return this.toggle(event.shiftKey);
      this.$refs.canvas.setPointerCapture(event.pointerId);
      this.stroke = this.at;
      this.paint(this.at);
    },
    move(event) {
      this.at = this.where(event);
      if (this.stroke) this.paint(this.at);
      else this.draw();
    },
    up(event) {
      if (!this.stroke) return;
      this.stroke = null;
      if (event.pointerType === "touch") this.at = null;
      this.save();
    },
    paint(to) {
      Object.assign(this.pen, { lineCap: "round", lineJoin: "round", lineWidth: 2 * this.radius / this.place().scale });
      this.pen.globalCompositeOperation = this.tool === "erase" ? "destination-out" : "source-over";
      this.pen.beginPath();
      this.pen.moveTo(...this.stroke);
      this.pen.lineTo(to[0] + 0.01, to[1]);
      this.pen.stroke();
      this.stroke = to;
      this.draw();
    },
    toggle(removes) {  // add the segment under the pointer to the mask, or remove it
      const canvas = this.under(), [height, width] = this.view.size;
      if (!canvas) return;
      this.pen.globalCompositeOperation = removes ? "destination-out" : "source-over";
      this.pen.drawImage(canvas, 0, 0, width, height);  // smoothed where the image is larger
      this.draw();
      this.save();
    },
    close() {  // the polygon
      if (this.points.length < 3) return;
      this.pen.globalCompositeOperation = "source-over";
      this.pen.beginPath();
      for (const point of this.points) this.pen.lineTo(...point);
      this.pen.fill();
      this.cancel();
      this.save();
    },
    cancel() {
      this.points = [];
      this.$emit("begun", false);
      this.draw();
    },
    zoom() { this.zoomed = !this.zoomed; this.draw(); },
    wheel(event) { this.$emit("wheeled", event.deltaY < 0 ? 1 : -1); },
    save() {
      const { size: [height, width], region } = this.view, counts = [];
      const pixels = this.pen.getImageData(0, 0, width, height).data;
      let run = 0, on = false;
      for (let x = 0; x < width; x++) for (let y = 0; y < height; y++) {
        const inside = pixels[4 * (y * width + x) + 3] >= 128;
        if (inside !== on) { counts.push(run); run = 0; on = inside; }
        run++;
      }
      counts.push(run);
      this.sending++;  // strokes are sent one after another, in their order
      this.last = this.last.then(() => this.send(region, JSON.stringify({ name: this.name, counts })));
    },
    async send(region, body) {
      let refused = "";
      try {
        const answer = await fetch(`/masks/${region}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
        if (!answer.ok) refused = (await answer.json()).error;
      } catch { refused = "The server does not answer; is `owseg review` still running?"; }
      this.sending--;
      if (!refused) return this.$emit("saved", region);
      this.$emit("refused", refused);
      if (!this.sending && this.view.region === region) this.show();
    },
  },
};
