// What JSX compiles to in the bundle: a call of h() is shorter than the automatic runtime's, and the bundle travels.
export { Fragment, h } from "preact";
