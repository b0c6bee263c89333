export const knob = "a part";
